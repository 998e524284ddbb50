//! The lab's Kubernetes objects: typed state, written as a folder of YAML.
//!
//! Tests change the state (a pod drains, a node is excluded) and write it;
//! every file appears whole, by rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::address::{self, Pair};
use super::spec::{Place, Spec, Wire};
use super::{ECHO_UDP_PORT, NGINX_PORT};
use super::{bgp, render};

/// What Kubernetes says of a pod behind a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Endpoint {
    #[default]
    Ready,
    /// Being deleted and still serving the connections it has.
    Draining,
    /// Its readiness probe fails.
    NotReady,
    /// Not in the EndpointSlices.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// A Service of type LoadBalancer in front of all pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub port_name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub target_port: u16,
    pub vip: Pair,
    /// As `key: value` lines.
    pub annotations: Vec<String>,
    /// Further lines of its `spec`, as YAML without indentation.
    pub extra_spec: Vec<String>,
}

/// All objects of a lab.
#[derive(Clone, Debug)]
pub struct Manifests {
    pub(super) wire: Wire,
    pub(super) nodes: u8,
    pub(super) endpoints: BTreeMap<Place, Endpoint>,
    pub(super) excluded_nodes: BTreeSet<u8>,
    /// Further files, as they are.
    pub more: BTreeMap<String, String>,
    pub services: Vec<Service>,
}

impl Manifests {
    /// The nginx Service of the seeds, and one for UDP.
    #[must_use]
    pub fn new(spec: &Spec) -> Self {
        let nginx = Service {
            name: "nginx".into(),
            port_name: "http".into(),
            protocol: Protocol::Tcp,
            port: NGINX_PORT,
            target_port: NGINX_PORT,
            vip: address::vip(spec.wire, 0),
            annotations: Vec::new(),
            extra_spec: Vec::new(),
        };
        let echo_udp = Service {
            name: "echo-udp".into(),
            port_name: "echo".into(),
            protocol: Protocol::Udp,
            port: ECHO_UDP_PORT,
            target_port: ECHO_UDP_PORT,
            vip: address::vip(spec.wire, 1),
            annotations: Vec::new(),
            extra_spec: Vec::new(),
        };
        Self {
            wire: spec.wire,
            nodes: spec.nodes,
            endpoints: spec
                .pod_places()
                .map(|place| (place, Endpoint::Ready))
                .collect(),
            excluded_nodes: BTreeSet::new(),
            more: spec
                .bgp
                .then(|| ("bgp.yaml".to_owned(), bgp::objects(spec)))
                .into_iter()
                .collect(),
            services: vec![nginx, echo_udp],
        }
    }

    /// The service of that name, to be looked at or changed.
    pub fn service(&mut self, name: &str) -> Option<&mut Service> {
        self.services
            .iter_mut()
            .find(|service| service.name == name)
    }

    pub fn set_endpoint(&mut self, pod: Place, endpoint: Endpoint) {
        self.endpoints.insert(pod, endpoint);
    }

    /// Sets or removes `node.kubernetes.io/exclude-from-external-load-balancers`.
    pub fn exclude_node(&mut self, node: u8, exclude: bool) {
        if exclude {
            self.excluded_nodes.insert(node);
        } else {
            self.excluded_nodes.remove(&node);
        }
    }

    /// File names and what is in them.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files = self.more.clone();
        files.insert("nodes.yaml".into(), render::nodes(self));
        for service in &self.services {
            let name = &service.name;
            files.insert(format!("service-{name}.yaml"), render::service(service));
            for family in [Family::Ipv4, Family::Ipv6] {
                files.insert(
                    format!("endpointslice-{name}-{}.yaml", family.short()),
                    render::endpoint_slice(self, service, family),
                );
            }
        }
        files
    }

    /// Makes `folder` hold exactly these objects. Files that stay the same
    /// are left alone; `staging` is a folder on the same file system.
    pub fn write(&self, folder: &Path, staging: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::create_dir_all(staging)?;
        let files = self.files();
        for (name, text) in &files {
            let path = folder.join(name);
            if fs::read_to_string(&path).is_ok_and(|old| old == *text) {
                continue;
            }
            let new = staging.join(name);
            fs::write(&new, text)
                .and_then(|()| fs::rename(&new, &path))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !files.contains_key(&*entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    pub(super) fn address_type(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }

    pub(super) fn of(self, pair: Pair) -> IpAddr {
        match self {
            Self::Ipv4 => pair.v4.into(),
            Self::Ipv6 => pair.v6.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn manifests() -> Manifests {
        Manifests::new(&Spec::new("corten", PathBuf::new()))
    }

    fn slice(manifests: &Manifests) -> String {
        manifests.files()["endpointslice-nginx-ipv4.yaml"].clone()
    }

    #[test]
    fn the_default_set_is_the_one_in_manifests_lab() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/lab");
        let files = manifests().files();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            for (name, text) in &files {
                fs::write(folder.join(name), text).expect("manifests/lab can be written");
            }
        }
        for (name, text) in &files {
            let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert_eq!(
                &committed, text,
                "manifests/lab/{name} is stale: run the test with UPDATE_EXPECT=1"
            );
        }
    }

    #[test]
    fn a_draining_pod_serves_but_is_not_ready() {
        let mut manifests = manifests();
        manifests.set_endpoint(Place { node: 1, pod: 1 }, Endpoint::Draining);
        let text = slice(&manifests);
        assert_eq!(text.matches("terminating: true").count(), 1, "{text}");
        assert_eq!(text.matches("serving: true").count(), 3, "{text}");
    }

    #[test]
    fn a_pod_that_is_gone_is_in_no_slice() {
        let mut manifests = manifests();
        manifests.set_endpoint(Place { node: 1, pod: 1 }, Endpoint::Gone);
        let text = slice(&manifests);
        assert!(!text.contains("10.244.1.2"), "{text}");
        assert!(text.contains("10.244.2.2"), "{text}");
    }

    #[test]
    fn writing_leaves_exactly_the_objects() {
        let scratch = std::env::temp_dir().join(format!("corten-manifests-{}", std::process::id()));
        let (folder, staging) = (scratch.join("manifests"), scratch.join("staging"));
        let mut manifests = manifests();
        manifests.write(&folder, &staging).expect("written");
        manifests.services.pop();
        manifests.write(&folder, &staging).expect("written again");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("it is there")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into()
            })
            .collect();
        names.sort();
        let expected: Vec<String> = manifests.files().into_keys().collect();
        assert_eq!(names, expected);
        fs::remove_dir_all(&scratch).expect("removed");
    }
}
