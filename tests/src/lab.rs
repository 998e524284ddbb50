//! The lab: a client, nodes with agents and pods, as network namespaces on
//! this machine.
//!
//! ```text
//!   client ----- switch or router ----- node1 ----- node1-pod1
//!                                   \-- node2 ----- node2-pod1
//!                                   \-- node3 ----- node3-pod1
//! ```
//!
//! Every name begins with the lab's prefix, every file is under
//! `/run/<prefix>`; addresses are the same in every lab. A [`Lab`] that is
//! dropped is taken down, unless it was told to [`Lab::stay`].

pub mod address;
pub(crate) mod bgp;
mod link;
mod lost;
pub mod manifests;
mod node;
mod pod;
pub(crate) mod process;
mod render;
mod settle;
pub mod spec;
mod steer;
mod teardown;
mod topology;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

pub use self::lost::{Cut, Loss};
pub use self::manifests::{Endpoint, Manifests};
pub use self::node::{BPFFS_VARIABLE, Node};
pub use self::pod::Pod;
pub use self::spec::{KubeProxy, Offload, Place, Spec, Wire};
pub use self::teardown::remove;
pub use self::topology::UPLINK;

use crate::netns::Namespace;
use crate::{interrupt, require};

/// The ports that pods serve: the nginx Service's,
pub const NGINX_PORT: u16 = 80;
/// the UDP Service's,
pub const ECHO_UDP_PORT: u16 = 5353;
/// and one of no Service, TCP and UDP.
pub const ECHO_PORT: u16 = 7;

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    spec: Spec,
    /// The objects that [`Lab::write`] writes; of a lab found by
    /// [`Lab::open`], the ones it started with.
    pub manifests: Manifests,
    stays: bool,
}

impl Lab {
    /// Builds the network, starts pods and agents and waits until all are
    /// ready. What an earlier lab of this prefix left is removed first; what
    /// was built is removed when something fails.
    pub fn up(spec: Spec) -> Result<Self> {
        ensure!(require::is_root(), "a lab needs root: it makes namespaces");
        spec.check()?;
        remove(&spec.prefix)?;
        let lab = Self {
            manifests: Manifests::new(&spec),
            spec,
            stays: false,
        };
        lab.build()?;
        Ok(lab)
    }

    fn build(&self) -> Result<()> {
        fs::create_dir_all(self.folder().join("pods"))
            .with_context(|| format!("cannot make {}", self.folder().display()))?;
        let spec = serde_json::to_string_pretty(&self.spec).context("a spec is plain data")?;
        fs::write(record(&self.spec.prefix), spec).context("cannot write down what the lab is")?;
        self.build_network()?;
        if self.spec.bgp {
            self.start_router()?;
        } else if self.spec.wire == Wire::Routed {
            self.route_vips(1)?;
        }
        if self.spec.manifests.is_none() {
            self.write()?;
        }
        for pod in self.pods() {
            interrupt::check()?;
            pod.start()?;
        }
        for node in self.nodes() {
            node.prepare()?;
        }
        if self.spec.agent.is_some() {
            for node in self.nodes() {
                node.start_agent()?;
            }
            for node in self.nodes() {
                node.wait_ready()?;
            }
        }
        interrupt::check()
    }

    /// Finds a lab that is up, by its prefix. It stays when this is dropped.
    pub fn open(prefix: &str) -> Result<Self> {
        spec::check_prefix(prefix)?;
        let Ok(text) = fs::read_to_string(record(prefix)) else {
            bail!("no lab {prefix:?} is up; `cargo xtask lab up` makes one");
        };
        let spec: Spec = serde_json::from_str(&text).context("the record of the lab is broken")?;
        Ok(Self {
            manifests: Manifests::new(&spec),
            spec,
            stays: true,
        })
    }

    /// Leaves it up when this is dropped.
    pub fn stay(&mut self) {
        self.stays = true;
    }

    /// Takes it down now, with an error where dropping could only be silent.
    pub fn down(mut self) -> Result<()> {
        self.stays = true;
        remove(&self.spec.prefix)
    }

    /// Of agents that are started from now on.
    pub fn set_agent_arguments(&mut self, arguments: Vec<String>) {
        self.spec.agent_arguments = arguments;
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The node of that number, from 1.
    ///
    /// # Panics
    /// When the lab has no such node.
    #[must_use]
    pub fn node(&self, number: u8) -> Node<'_> {
        assert!(
            (1..=self.spec.nodes).contains(&number),
            "a lab of {} nodes has no node {number}",
            self.spec.nodes
        );
        Node { lab: self, number }
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.spec.node_numbers().map(|number| self.node(number))
    }

    /// The `pod`th pod of a node, both from 1.
    ///
    /// # Panics
    /// When the lab has no such pod.
    #[must_use]
    pub fn pod(&self, node: u8, pod: u16) -> Pod<'_> {
        let place = Place { node, pod };
        assert!(
            self.spec.pod_places().any(|other| other == place),
            "the lab has no pod {}",
            place.name()
        );
        Pod { lab: self, place }
    }

    pub fn pods(&self) -> impl Iterator<Item = Pod<'_>> {
        let places = self.spec.pod_places();
        places.map(|place| Pod { lab: self, place })
    }

    #[must_use]
    pub fn client(&self) -> Namespace {
        self.namespace("client")
    }

    /// Where a cluster's control plane runs.
    #[must_use]
    pub fn control_plane(&self) -> Namespace {
        self.namespace("control-plane")
    }

    /// Of a lab on one link.
    #[must_use]
    pub fn switch(&self) -> Namespace {
        self.namespace("switch")
    }

    /// Of a routed lab.
    #[must_use]
    pub fn router(&self) -> Namespace {
        self.namespace("router")
    }

    /// A namespace by its name in this lab, such as `node1-pod1`.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace::named(format!("{}-{name}", self.spec.prefix))
    }

    /// All namespaces of the lab.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        Namespace::list(&format!("{}-", self.spec.prefix))
    }

    /// What happens to a pod, as the EndpointSlices say it; see
    /// [`Lab::write`]. The pod's server is another matter: [`Pod::stop`].
    pub fn set_endpoint(&mut self, node: u8, pod: u16, endpoint: Endpoint) {
        self.manifests.set_endpoint(Place { node, pod }, endpoint);
    }

    /// Labels a node as one that load balancers leave out, or no longer; see
    /// [`Lab::write`].
    pub fn exclude_node(&mut self, node: u8, exclude: bool) {
        self.manifests.exclude_node(node, exclude);
    }

    /// Writes the manifests as they are now; the agents see what changed.
    pub fn write(&self) -> Result<()> {
        if let Some(folder) = &self.spec.manifests {
            bail!("{} is not the lab's to write", folder.display());
        }
        if self.spec.apart {
            return self.spec.node_numbers().try_for_each(|n| self.write_for(n));
        }
        let staging = self.folder().join("staging");
        self.manifests.write(&self.manifest_folder(), &staging)
    }

    /// The same for one node's agent alone, in a lab whose agents are apart.
    pub fn write_for(&self, node: u8) -> Result<()> {
        ensure!(self.spec.apart, "these agents watch one folder");
        let staging = self.folder().join("staging");
        let folder = self.node(node).manifest_folder();
        self.manifests.write(&folder, &staging)
    }

    /// Writes one file more for the agents, or one anew: whole, by rename, as
    /// they look on.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let new = self.folder().join(format!("{name}.new"));
        let file = self.manifest_folder().join(name);
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The folder that the agents watch, unless they are apart.
    #[must_use]
    pub fn manifest_folder(&self) -> PathBuf {
        match &self.spec.manifests {
            Some(folder) => folder.clone(),
            None => self.folder().join("manifests"),
        }
    }

    /// Routes the nodes' pods for the client, past any VIP.
    pub fn let_client_reach_pods(&self) -> Result<()> {
        for node in self.nodes() {
            let via = match self.spec.wire {
                Wire::SameLink => node.address(),
                Wire::Routed => address::client_gateway().address,
            };
            topology::route_pods(&self.client(), node.number(), via)?;
        }
        Ok(())
    }

    /// Where this lab's files are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        folder(&self.spec.prefix)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        if let Err(error) = remove(&self.spec.prefix) {
            complain(&error);
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a drop has no other way to say that something was left behind"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("cannot take the lab down: {error:#}");
}

fn folder(prefix: &str) -> PathBuf {
    Path::new("/run").join(prefix)
}

/// What tells a lab's folder from others, and what the lab is.
fn record(prefix: &str) -> PathBuf {
    folder(prefix).join("lab.json")
}
