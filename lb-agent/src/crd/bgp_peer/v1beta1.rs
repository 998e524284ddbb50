//! `BGPPeer` as it was before MetalLB 0.13. An object of this version is one of
//! `v1beta2` with less in it, so nothing has to be converted: times that are not
//! given stay so.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use lb_core::config::Labels;
use lb_core::config::declared::Declaration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ADDRESS_MAX, Hidden, address, duration, hold_time, keepalive_below_hold};
use crate::crd::rule::LIST_MAX;
use crate::crd::{Declare, LabelSelector, LabelSelectorRequirement, NoStatus};

/// A router to tell routes to.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPPeer",
    namespaced,
    status = "NoStatus",
    derive = "PartialEq",
    storage = false,
    deprecated = "v1beta1 is deprecated, please use v1beta2",
    doc = "A router to tell routes to.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "string", json_path = ".spec.peerASN"),
    printcolumn(name = "BFD Profile", type_ = "string", json_path = ".spec.bfdProfile"),
    printcolumn(
        name = "Multi Hops",
        type_ = "string",
        json_path = ".spec.ebgpMultiHop"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.myASN != 0").message("missing local ASN"),
    validation = Rule::new("self.peerASN != 0").message("missing peer ASN and dynamicASN"),
    validation = Rule::new(
        "!has(self.ebgpMultiHop) || !self.ebgpMultiHop || self.peerASN != self.myASN"
    ).message("invalid ebgp-multihop parameter set for an ibgp peer"),
    validation = Rule::new("self.peerAddress != ''")
        .message("peer has no Address or Interface specified"),
    validation = keepalive_below_hold()
)]
pub struct BGPPeerSpec {
    /// Our AS number.
    #[serde(rename = "myASN")]
    pub my_asn: u32,
    /// The router's AS number.
    #[serde(rename = "peerASN")]
    pub peer_asn: u32,
    /// The router's address.
    #[schemars(length(max = ADDRESS_MAX))]
    #[x_kube(validation = address("BGPPeer address"))]
    pub peer_address: String,
    /// The node's address to connect from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_MAX))]
    #[x_kube(validation = address("source IP"))]
    pub source_address: Option<String>,
    /// The router's TCP port; 0, or none, is 179.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16384))]
    pub peer_port: Option<u16>,
    /// How long a silent session lives: 0, or 3s and more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = hold_time())]
    pub hold_time: Option<String>,
    /// How often to say that we live; at most holdTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub keepalive_time: Option<String>,
    /// Our BGP identifier, written as an IPv4 address.
    #[serde(rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_MAX))]
    #[x_kube(validation = address("router ID"))]
    pub router_id: Option<String>,
    /// Labels of nodes that have a session; none: all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub node_selectors: Option<Vec<NodeSelector>>,
    /// For TCP MD5 (RFC 2385).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// The name of a BFDProfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the router of another AS is more than one hop away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
}

/// Labels that a node has to have. All parts must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels with exactly these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Conditions on labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<MatchExpression>>,
}

/// A condition on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatchExpression {
    /// The label.
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: String,
    /// For In and NotIn.
    #[schemars(length(min = 1))]
    pub values: Vec<String>,
}

impl From<NodeSelector> for LabelSelector {
    fn from(selector: NodeSelector) -> Self {
        let requirements = selector.match_expressions.map(|all| {
            let all = all.into_iter().map(|one| LabelSelectorRequirement {
                key: one.key,
                operator: one.operator,
                values: Some(one.values),
            });
            all.collect()
        });
        Self {
            match_labels: selector.match_labels,
            match_expressions: requirements,
        }
    }
}

impl From<BGPPeerSpec> for super::BGPPeerSpec {
    fn from(old: BGPPeerSpec) -> Self {
        let selectors = old.node_selectors;
        let selectors = selectors.map(|all| all.into_iter().map(LabelSelector::from).collect());
        Self {
            my_asn: old.my_asn,
            peer_asn: Some(old.peer_asn),
            peer_address: Some(old.peer_address),
            source_address: old.source_address,
            peer_port: old.peer_port,
            hold_time: old.hold_time,
            keepalive_time: old.keepalive_time,
            router_id: old.router_id,
            node_selectors: selectors,
            password: old.password,
            bfd_profile: old.bfd_profile,
            ebgp_multi_hop: old.ebgp_multi_hop,
            ..Self::default()
        }
    }
}

impl Declare for BGPPeerSpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        super::BGPPeerSpec::from(self).declare(name, labels)
    }
}
