//! MetalLB's kinds, as the API server knows them: the same group, versions,
//! fields, defaults and columns, so that what people have applies unchanged.
//!
//! Schemas and rules (CEL) refuse at once what can be told from one object
//! alone, as MetalLB's webhooks did, with their messages. What takes several
//! objects is told by the agent: `lb_core::config`.
//!
//! `cargo xtask crds` writes the definitions of [`all`] to `manifests/crds`.
#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema puts a copy of each type into a function, with its visibility; columns of \
              one type are no duplicates"
)]

mod bfd_profile;
pub mod bgp_advertisement;
pub mod bgp_peer;
pub mod community;
mod configuration_state;
pub mod ip_address_pool;
pub mod l2_advertisement;
mod rule;
pub(crate) mod schema;
mod selector;
mod service_status;
mod tidy;

pub use bfd_profile::{BFDProfile, BFDProfileSpec};
pub use bgp_advertisement::{BGPAdvertisement, BGPAdvertisementSpec};
pub use bgp_peer::{BGPPeer, BGPPeerSpec};
pub use community::{Community, CommunitySpec};
pub use configuration_state::{
    ConfigurationState, ConfigurationStateSpec, ConfigurationStateStatus, Validity,
};
pub use ip_address_pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus};
pub use l2_advertisement::{L2Advertisement, L2AdvertisementSpec};
pub use selector::{LabelSelector, LabelSelectorRequirement};
pub use service_status::{
    InterfaceInfo, ServiceBGPStatus, ServiceBGPStatusSpec, ServiceBGPStatusStatus, ServiceL2Status,
    ServiceL2StatusSpec, ServiceL2StatusStatus,
};

use kube::CustomResourceExt as _;
use kube::core::crd::merge_crds;
use lb_core::config::declared::{Declaration, Object};
use lb_core::config::{Kind, Labels, Place};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The API group of all of them.
pub const GROUP: &str = "metallb.io";

/// Nothing. But the status is there, as it is in MetalLB's kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoStatus {}

/// An object of the configuration, as it is written. `spec` is null where
/// there is none.
///
/// # Errors
/// What serde says of fields that are not what they should be.
pub fn declare(
    kind: Kind,
    version: &str,
    name: &str,
    labels: Labels,
    spec: Value,
) -> Result<Declaration, serde_json::Error> {
    fn read<T: Declare + DeserializeOwned>(
        spec: Value,
        name: &str,
        labels: Labels,
    ) -> Result<Declaration, serde_json::Error> {
        let spec = if spec.is_null() { json!({}) } else { spec };
        Ok(serde_json::from_value::<T>(spec)?.declare(name, labels))
    }
    match kind {
        Kind::IpAddressPool => read::<IPAddressPoolSpec>(spec, name, labels),
        Kind::L2Advertisement => read::<L2AdvertisementSpec>(spec, name, labels),
        Kind::BgpAdvertisement => read::<BGPAdvertisementSpec>(spec, name, labels),
        Kind::BgpPeer if version == "v1beta1" => {
            read::<bgp_peer::v1beta1::BGPPeerSpec>(spec, name, labels)
        }
        Kind::BgpPeer => read::<BGPPeerSpec>(spec, name, labels),
        Kind::Community => read::<CommunitySpec>(spec, name, labels),
        Kind::BfdProfile => read::<BFDProfileSpec>(spec, name, labels),
    }
}

/// An object of the configuration, as written.
pub trait Declare {
    /// Its part of the configuration.
    fn declare(self, name: &str, labels: Labels) -> Declaration;
}

/// All that the configuration needs to know of an object.
fn object<T>(kind: Kind, name: &str, labels: Labels, spec: T) -> Object<T> {
    Object {
        name: name.to_owned(),
        labels,
        place: Place::object(kind, name),
        spec,
    }
}

/// The definitions of all kinds, by name.
///
/// # Errors
/// Two versions of a kind do not fit together; a test rules that out.
pub fn all() -> Result<Vec<Value>, CrdError> {
    let peers = vec![BGPPeer::crd(), bgp_peer::v1beta1::BGPPeer::crd()];
    let mut all = vec![
        BFDProfile::crd(),
        BGPAdvertisement::crd(),
        merge_crds(peers, "v1beta2")?,
        Community::crd(),
        ConfigurationState::crd(),
        IPAddressPool::crd(),
        L2Advertisement::crd(),
        ServiceBGPStatus::crd(),
        ServiceL2Status::crd(),
    ];
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let definitions = all
        .iter()
        .map(|crd| Ok(tidy::tidy(serde_json::to_value(crd)?)));
    definitions.collect()
}

/// The definitions as files: their names and texts.
///
/// # Errors
/// As for [`all`].
pub fn files() -> Result<Vec<(String, String)>, CrdError> {
    let definitions = all()?.into_iter();
    let files = definitions.map(|definition| {
        let plural = definition.pointer("/spec/names/plural");
        let plural = plural.and_then(Value::as_str).unwrap_or_default();
        let yaml = serde_saphyr::to_string(&definition)?;
        let text = format!("# Made by `cargo xtask crds`. Do not edit.\n{yaml}");
        Ok((format!("{GROUP}_{plural}.yaml"), text))
    });
    files.collect()
}

/// The file by which kustomize finds the others.
#[must_use]
pub fn kustomization(files: &[(String, String)]) -> (String, String) {
    let mut text = String::from(
        "# Made by `cargo xtask crds`. Do not edit.\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\n\
         kind: Kustomization\n\
         resources:\n",
    );
    for (name, _) in files {
        text += &format!("- {name}\n");
    }
    ("kustomization.yaml".into(), text)
}

#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    #[error("the versions of a kind do not fit together")]
    Merge(#[from] kube::core::crd::MergeError),
    #[error("a definition cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("a definition cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_definitions_in_manifests_are_these() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
        let mut files = files().unwrap();
        files.push(kustomization(&files));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), files.len());
        for (name, text) in files {
            let there = fs::read_to_string(folder.join(&name)).unwrap();
            assert!(there == text, "{name} is stale: run `cargo xtask crds`");
        }
    }

    #[test]
    fn asns_are_64_bits_wide_since_api_servers_refuse_32() {
        let all = all().unwrap();
        let peers = &all[2];
        assert_eq!(peers["metadata"]["name"], "bgppeers.metallb.io");
        for (version, stored) in [(0, true), (1, false)] {
            let version = &peers["spec"]["versions"][version];
            assert_eq!(version["storage"], stored);
            let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            for field in ["myASN", "peerASN"] {
                let asn = &schema["properties"][field];
                assert_eq!(asn["format"], "int64");
                assert_eq!(asn["maximum"], 4_294_967_295_u32);
            }
        }
    }

    #[test]
    fn what_kind_of_object_it_is_decides_how_it_is_read() {
        let read = |kind, version, spec| declare(kind, version, "name", Labels::new(), spec);
        let nothing = || Value::Null;
        assert!(read(Kind::L2Advertisement, "v1beta1", nothing()).is_ok());
        let error = read(Kind::IpAddressPool, "v1beta1", nothing()).unwrap_err();
        assert_eq!(error.to_string(), "missing field `addresses`");
        let old = json!({"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "vrf": "red"});
        let vrf = |version| match read(Kind::BgpPeer, version, old.clone()).unwrap() {
            Declaration::Peer(peer) => peer.spec.vrf,
            other => panic!("{other:?}"),
        };
        assert_eq!([vrf("v1beta1"), vrf("v1beta2")], ["", "red"]);
    }

    #[test]
    fn passwords_do_not_show() {
        let spec = json!({"myASN": 1, "password": "hunter2"});
        let peer: BGPPeerSpec = serde_json::from_value(spec).unwrap();
        assert!(!format!("{peer:?}").contains("hunter2"));
    }
}
