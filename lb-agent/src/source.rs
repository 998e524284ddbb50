//! Where facts come from. Each source hands over whole facts, never changes to
//! them, and none before it has read everything once: what is not known yet is
//! no empty cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_core::model::{Facts, ServiceName};
use serde::{Deserialize, Serialize};

pub mod file;
pub mod kube;
pub mod object;
pub mod yaml;

/// What a source knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The last good ones; none before everything was read once.
    pub facts: Option<Arc<Facts>>,
    /// Why the source says something else by now, as sentences.
    pub mistakes: Vec<String>,
    /// What is watched, where that is an API server.
    pub watches: Vec<Watch>,
    /// The Services that the facts were made of; none where they are files.
    pub handles: Arc<BTreeMap<ServiceName, Arc<Handle>>>,
    /// The facts about Services are no older than this (see
    /// [`kube::run`]); none before they are known.
    pub epoch: Option<u64>,
}

/// How a kind of objects is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// As in URLs and RBAC rules: `services`.
    pub kind: String,
    /// Whether they have been listed once.
    pub listed: bool,
    /// The server does not know this kind.
    pub absent: bool,
    /// Why they are not followed just now.
    pub failure: Option<String>,
}

impl Watch {
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            ..Self::default()
        }
    }
}

/// What a writer must know of a Service, beside the facts: which one it was,
/// and what stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    pub uid: String,
    /// Changes with every write to the object.
    pub version: String,
    pub ingress: Vec<Ingress>,
    /// The annotation `metallb.io/ip-allocated-from-pool`.
    pub pool: Option<String>,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// None: it is a host name, which is not ours.
    pub ip: Option<IpAddr>,
    /// `ipMode`: `VIP` or `Proxy`.
    pub mode: Option<String>,
}
