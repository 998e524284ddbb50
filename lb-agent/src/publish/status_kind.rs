//! The two kinds of objects in which a node says which Services it announces.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::ObjectMeta;
use lb_core::model::ServiceName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Decided;
use super::announcements::{Told, bgp, bgp_is_true, layer2, layer2_is_true};
use crate::crd::{
    InterfaceInfo, ServiceBGPStatus, ServiceBGPStatusSpec, ServiceL2Status, ServiceL2StatusSpec,
};

/// One of the two kinds.
pub(super) trait Status:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// What names of objects begin with.
    const PREFIX: &'static str;
    /// As in events.
    const PROTOCOL: &'static str;
    /// Whether only one node announces a Service.
    const ONE_NODE: bool;

    fn with(metadata: ObjectMeta) -> Self;
    /// Names of links or peers; none where it says nothing yet.
    fn says(&self) -> Option<BTreeSet<String>>;
    /// The field of the status that has these names.
    fn field(names: &BTreeSet<String>) -> (&'static str, Value);
    fn told(decided: &Decided) -> Told;
    fn is_true(decided: &Decided) -> impl Fn(&str, &ServiceName) -> bool;
}

impl Status for ServiceL2Status {
    const PREFIX: &'static str = "l2-";
    const PROTOCOL: &'static str = "layer2";
    const ONE_NODE: bool = true;

    fn with(metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            spec: ServiceL2StatusSpec {},
            status: None,
        }
    }

    fn says(&self) -> Option<BTreeSet<String>> {
        let status = self.status.as_ref()?;
        status.node.as_ref()?;
        let links = status.interfaces.iter().flatten();
        Some(links.filter_map(|link| link.name.clone()).collect())
    }

    fn field(names: &BTreeSet<String>) -> (&'static str, Value) {
        let link = |name: &String| InterfaceInfo {
            name: Some(name.clone()),
        };
        let links: Vec<_> = names.iter().map(link).collect();
        ("interfaces", json!(links))
    }

    fn told(decided: &Decided) -> Told {
        layer2(decided)
    }

    fn is_true(decided: &Decided) -> impl Fn(&str, &ServiceName) -> bool {
        layer2_is_true(decided)
    }
}

impl Status for ServiceBGPStatus {
    const PREFIX: &'static str = "bgp-";
    const PROTOCOL: &'static str = "bgp";
    const ONE_NODE: bool = false;

    fn with(metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            spec: ServiceBGPStatusSpec {},
            status: None,
        }
    }

    fn says(&self) -> Option<BTreeSet<String>> {
        let status = self.status.as_ref()?;
        status.node.as_ref()?;
        Some(status.peers.iter().flatten().cloned().collect())
    }

    fn field(names: &BTreeSet<String>) -> (&'static str, Value) {
        ("peers", json!(names))
    }

    fn told(decided: &Decided) -> Told {
        bgp(decided)
    }

    fn is_true(decided: &Decided) -> impl Fn(&str, &ServiceName) -> bool {
        bgp_is_true(decided)
    }
}
