//! `cargo xtask image`: container images, without a container engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use lb_tests::image::{self, Layer};
use lb_tests::kubernetes::metallb;
use lb_tests::kubernetes::{AGENT_IMAGE, IMAGE_FILES, NEXT_IMAGE, POD_IMAGE, SEED_IMAGES};

use crate::report::say;
use crate::workspace::target;
use crate::{build, setup};

/// The archive holds one static program and nothing else. containerd, docker
/// and podman load it: `ctr -n k8s.io images import`, `docker load -i`,
/// `podman load -i`.
#[derive(Debug, Args)]
pub(crate) struct Image {
    /// The image's name and tag
    #[arg(long, value_name = "NAME:TAG", default_value = AGENT_IMAGE)]
    name: String,
    /// Where the archive goes [default: target/images/corten.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Image {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let programs = build::stand_alone()?;
        let path = match &self.output {
            Some(path) => path.clone(),
            None => folder()?.join(IMAGE_FILES[0]),
        };
        agent(&programs, &self.name)?.write(&path)?;
        say!("{} in {}", self.name, path.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The archives that a cluster in the lab loads into its nodes, of programs
/// that [`build::stand_alone`] has built.
pub(crate) fn for_cluster(programs: &Path) -> Result<Vec<PathBuf>> {
    let packages = setup::nginx_packages()?;
    let folder = folder()?;
    let mut corten = agent(programs, AGENT_IMAGE)?;
    corten.names.push(NEXT_IMAGE.to_owned());
    let images = [
        corten,
        pod(programs)?,
        image::nginx(&packages, SEED_IMAGES)?,
    ];
    let mut paths = Vec::new();
    for (name, image) in IMAGE_FILES.iter().zip(images) {
        let path = folder.join(name);
        image.write(&path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// The archives of MetalLB, beside its programs.
pub(crate) fn for_migration() -> Result<Vec<PathBuf>> {
    let folder = setup::metallb()?;
    let mut paths = Vec::new();
    for program in metallb::PROGRAMS {
        let image = of_program(&folder.join(program), &metallb::image(program))?;
        let path = folder.join(format!("{program}.tar"));
        image.write(&path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// The same and the pods', for a cluster without Corten.
pub(crate) fn for_metallb() -> Result<Vec<PathBuf>> {
    let mut paths = for_migration()?;
    let path = folder()?.join(IMAGE_FILES[1]);
    pod(&build::stand_alone_echo()?)?.write(&path)?;
    paths.push(path);
    Ok(paths)
}

fn agent(programs: &Path, name: &str) -> Result<image::Image> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut image = of_program(&programs.join("lb-agent"), name)?;
    image.labels = vec![
        ("org.opencontainers.image.title", "corten".into()),
        ("org.opencontainers.image.version", version),
        ("org.opencontainers.image.licenses", "Apache-2.0".into()),
    ];
    Ok(image)
}

/// The lab's pods' server, which also is what holds a pod's namespaces.
fn pod(programs: &Path) -> Result<image::Image> {
    of_program(&programs.join("corten-echo"), POD_IMAGE)
}

fn of_program(program: &Path, name: &str) -> Result<image::Image> {
    let file = program.file_name().context("a program has a name")?;
    let inside = format!("usr/bin/{}", file.to_string_lossy());
    let mut layer = Layer::default();
    layer.program(&inside, program)?;
    Ok(image::Image {
        names: vec![name.to_owned()],
        layer,
        entrypoint: vec![format!("/{inside}")],
        labels: Vec::new(),
    })
}

fn folder() -> Result<PathBuf> {
    let folder = target().join("images");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
