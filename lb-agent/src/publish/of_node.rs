//! What the objects that a node writes about itself have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client, ResourceExt};

use super::MANAGER;
use super::request::in_time;

/// MetalLB's label.
pub(super) const NODE: &str = "metallb.io/node";
/// Tells our objects from those of MetalLB's speakers on the same nodes.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// A node, and the uid of its Node object as it was last looked up.
#[derive(Debug)]
pub(super) struct OfNode {
    api: Api<Node>,
    name: String,
    uid: Option<String>,
}

impl OfNode {
    pub(super) fn new(client: Client, name: &str) -> Self {
        Self {
            api: Api::all(client),
            name: name.to_owned(),
            uid: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Looks the Node object up: one that was deleted and registered again is
    /// another one.
    pub(super) async fn look(&mut self, limit: Duration) -> Result<(), String> {
        let field = format!("metadata.name={}", self.name);
        let parameters = ListParams::default().fields(&field);
        let nodes = in_time(limit, self.api.list_metadata(&parameters)).await?;
        let node = nodes.items.first().and_then(ResourceExt::uid);
        let missing = || format!("there is no Node object {}", self.name);
        self.uid = Some(node.ok_or_else(missing)?);
        Ok(())
    }

    /// With the labels that all have: the object goes with the Node.
    pub(super) fn metadata(&self) -> ObjectMeta {
        let owner = self.uid.as_ref().map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        });
        ObjectMeta {
            owner_references: owner.map(|owner| vec![owner]),
            ..managed()
        }
    }
}

/// Of an object that is ours, and of no node.
pub(super) fn managed() -> ObjectMeta {
    let labels = [(MANAGED_BY.to_owned(), MANAGER.to_owned())];
    ObjectMeta {
        labels: Some(BTreeMap::from(labels)),
        ..ObjectMeta::default()
    }
}

/// Selects all objects that are ours.
pub(super) fn ours() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}
