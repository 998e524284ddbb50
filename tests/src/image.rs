//! Container images without a container engine: OCI image archives.
//!
//! An archive is a tar file with an OCI layout (`oci-layout`, `index.json`,
//! blobs), which containerd and podman import, and with docker's
//! `manifest.json`, so that `docker load` takes it whatever its age. Equal
//! contents give equal bytes: nothing in it has a date.

mod layer;
mod nginx;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use self::layer::Layer;
pub use self::nginx::nginx;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const NO_DATE: &str = "1970-01-01T00:00:00Z";

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    /// Whole names with tags, such as `docker.io/library/nginx:1`.
    pub names: Vec<String>,
    pub layer: Layer,
    pub entrypoint: Vec<String>,
    pub labels: Vec<(&'static str, String)>,
}

impl Image {
    /// Writes the archive.
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = || -> Result<()> {
            let mut file = BufWriter::new(File::create(path)?);
            self.write_to(&mut file)?;
            file.flush()?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_to(&self, output: impl Write) -> Result<()> {
        let layer = Blob::new(LAYER_TYPE, self.layer.to_tar()?);
        let config = Blob::json(CONFIG_TYPE, &self.config(&layer))?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::json(MANIFEST_TYPE, &manifest)?;
        let mut archive = Layer::default();
        archive.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
        archive.file("index.json", 0o644, self.index(&manifest).to_string());
        let docker = json!([{
            "Config": config.path(),
            "RepoTags": self.names,
            "Layers": [layer.path()],
        }]);
        archive.file("manifest.json", 0o644, docker.to_string());
        for blob in [layer, config, manifest] {
            archive.file(&blob.path(), 0o644, blob.bytes);
        }
        archive.write_tar(output)?;
        Ok(())
    }

    fn config(&self, layer: &Blob) -> Value {
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        json!({
            "created": NO_DATE,
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "WorkingDir": "/",
                "Labels": labels,
            },
            // The layer is not compressed: its own hash is this one.
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
            "history": [{ "created": NO_DATE, "created_by": "cargo xtask image" }],
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let manifests: Vec<Value> = self
            .names
            .iter()
            .map(|name| {
                let mut descriptor = manifest.descriptor();
                let tag = name.rsplit(':').next().unwrap_or_default();
                descriptor["platform"] = json!({ "architecture": architecture(), "os": "linux" });
                descriptor["annotations"] = json!({
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": tag,
                });
                descriptor
            })
            .collect();
        json!({ "schemaVersion": 2, "manifests": manifests })
    }
}

/// A part of an image, found by its hash.
#[derive(Clone, Debug)]
struct Blob {
    kind: &'static str,
    /// `sha256:…`
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        use std::fmt::Write as _;
        let mut digest = String::from("sha256:");
        for byte in Sha256::digest(&bytes) {
            write!(digest, "{byte:02x}").expect("strings take everything");
        }
        Self {
            kind,
            digest,
            bytes,
        }
    }

    fn json(kind: &'static str, value: &Value) -> io::Result<Self> {
        Ok(Self::new(kind, serde_json::to_vec(value)?))
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": self.digest, "size": self.bytes.len() })
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// This machine's, by Go's names.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn image() -> Image {
        let mut layer = Layer::default();
        layer.file("usr/bin/program", 0o755, "a program");
        layer.folder("var/run");
        Image {
            names: vec!["example.org/a/program:1".into(), "example.org/b:2".into()],
            layer,
            entrypoint: vec!["/usr/bin/program".into()],
            labels: vec![("org.opencontainers.image.title", "program".into())],
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().expect("a tar file") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("readable");
            files.insert(path, bytes);
        }
        files
    }

    #[test]
    fn everything_is_found_by_its_hash() {
        let mut archive = Vec::new();
        image().write_to(&mut archive).expect("written");
        let archived = files(&archive);
        let index: Value = serde_json::from_slice(&archived["index.json"]).expect("JSON");
        let manifests = index["manifests"].as_array().expect("a list");
        let names: Vec<&Value> = manifests
            .iter()
            .map(|manifest| &manifest["annotations"]["io.containerd.image.name"])
            .collect();
        assert_eq!(names, ["example.org/a/program:1", "example.org/b:2"]);
        let follow = |descriptor: &Value| -> Vec<u8> {
            let digest = descriptor["digest"].as_str().expect("a digest");
            let bytes = &archived[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(Blob::new("", bytes.clone()).digest, digest);
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let manifest: Value = serde_json::from_slice(&follow(&manifests[0])).expect("JSON");
        let layer = follow(&manifest["layers"][0]);
        let config: Value = serde_json::from_slice(&follow(&manifest["config"])).expect("JSON");
        let hash = Blob::new("", layer.clone()).digest;
        assert_eq!(config["rootfs"]["diff_ids"], json!([hash]));
        let inside = files(&layer);
        assert_eq!(inside["usr/bin/program"], b"a program");
        assert!(inside.contains_key("var/run/"), "{:?}", inside.keys());
        assert!(inside.contains_key("usr/"), "folders are named too");
    }

    #[test]
    fn equal_contents_give_equal_bytes() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        image().write_to(&mut one).expect("written");
        image().write_to(&mut other).expect("written");
        assert_eq!(one, other);
    }
}
