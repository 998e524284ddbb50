//! `BGPPeer`, `v1beta2`, and `v1beta1` that is still served.

use std::fmt;

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use lb_core::config::declared::{Declaration, PeerSpec};
use lb_core::config::{Kind, Labels, Password};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rule::{DURATION, LIST_MAX, address};
use super::selector::{LabelSelector, selectors};
use super::{Declare, NoStatus, object};

pub mod v1beta1;

/// A router to tell routes to.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta2",
    kind = "BGPPeer",
    namespaced,
    status = "NoStatus",
    derive = "PartialEq",
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
    validation = Rule::new("has(self.dynamicASN) || (has(self.peerASN) && self.peerASN != 0)")
        .message("missing peer ASN and dynamicASN"),
    validation = Rule::new("!has(self.dynamicASN) || !has(self.peerASN) || self.peerASN == 0")
        .message("both peer ASN and dynamicASN specified"),
    validation = Rule::new(
        "!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.peerASN) || \
         self.peerASN != self.myASN"
    ).message("invalid ebgp-multihop parameter set for an ibgp peer"),
    validation = Rule::new(
        "(has(self.peerAddress) && self.peerAddress != '') || \
         (has(self.interface) && self.interface != '')"
    ).message("peer has no Address or Interface specified"),
    validation = Rule::new(
        "!has(self.peerAddress) || self.peerAddress == '' || !has(self.interface) || \
         self.interface == ''"
    ).message("peer has both Address and Interface specified"),
    validation = Rule::new(
        "!has(self.password) || self.password == '' || !has(self.passwordSecret) || \
         !has(self.passwordSecret.name) || self.passwordSecret.name == ''"
    ).message("can not have both password and secret ref set in peer config"),
    validation = keepalive_below_hold()
)]
pub struct BGPPeerSpec {
    /// Our AS number.
    #[serde(rename = "myASN")]
    pub my_asn: u32,
    /// The router's AS number. Either this or dynamicASN is set.
    #[serde(rename = "peerASN", skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<u32>,
    /// The AS number that the router is to take for ours, in place of myASN.
    #[serde(rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub local_asn: Option<u32>,
    /// Any AS number: internal: only ours; external: only another one.
    #[serde(rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["internal", "external"]))]
    pub dynamic_asn: Option<String>,
    /// The router's address. Either this or interface is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_MAX))]
    #[x_kube(validation = address("BGPPeer address"))]
    pub peer_address: Option<String>,
    /// The link whose other end is the router (unnumbered BGP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The node's address to connect from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_MAX))]
    #[x_kube(validation = address("source IP"))]
    pub source_address: Option<String>,
    /// The router's TCP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16384), extend("default" = 179))]
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
    /// How long to wait between attempts to connect, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(
        validation = Rule::new(
            "duration(self).getSeconds() >= 1 && duration(self).getSeconds() <= 65535"
        ).message("connect time should be between 1 seconds to 65535"),
        validation = Rule::new("duration(self).getMilliseconds() % 1000 == 0")
            .message("connect time should contain a whole number of seconds")
    )]
    pub connect_time: Option<String>,
    /// Our BGP identifier, written as an IPv4 address.
    #[serde(rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_MAX))]
    #[x_kube(validation = address("router ID"))]
    pub router_id: Option<String>,
    /// Labels of nodes that have a session; none: all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub node_selectors: Option<Vec<LabelSelector>>,
    /// For TCP MD5 (RFC 2385).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// A Secret of type kubernetes.io/basic-auth with the key password, in the
    /// namespace of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretReference>,
    /// The name of a BFDProfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the router keeps our routes while the agent restarts (RFC 4724).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("EnableGracefulRestart cannot be changed after creation")
    )]
    pub enable_graceful_restart: Option<bool>,
    /// Whether the router of another AS is more than one hop away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
    /// The VRF that the session is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Deprecated: has no effect.
    #[serde(rename = "disableMP", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable_mp: Option<bool>,
    /// Whether routes of both families go over one session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub dual_stack_address_family: Option<bool>,
}

/// Room for any address.
const ADDRESS_MAX: usize = 64;

/// Which Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretReference {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Has no effect: it is the namespace of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A text that does not show itself in logs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<Hidden> for Password {
    fn from(Hidden(text): Hidden) -> Self {
        Self::new(text)
    }
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": DURATION, "maxLength": 64})
}

/// Parts of a second do not count.
pub(super) fn hold_time() -> Rule {
    let rule = "duration(self).getSeconds() == 0 || (duration(self).getSeconds() >= 3 && \
        duration(self).getSeconds() <= 65535)";
    Rule::new(rule).message("invalid hold time: must be 0 or >=3s, and at most 65535s")
}

pub(super) fn keepalive_below_hold() -> Rule {
    let rule = "!has(self.keepaliveTime) || !has(self.holdTime) || \
        duration(self.keepaliveTime) <= duration(self.holdTime)";
    Rule::new(rule).message("invalid keepaliveTime, must be lower than holdTime")
}

impl Declare for BGPPeerSpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        let secret = self.password_secret.unwrap_or_default();
        let spec = PeerSpec {
            my_asn: self.my_asn,
            peer_asn: self.peer_asn.unwrap_or_default(),
            local_asn: self.local_asn.unwrap_or_default(),
            dynamic_asn: self.dynamic_asn.unwrap_or_default(),
            peer_address: self.peer_address.unwrap_or_default(),
            interface: self.interface.unwrap_or_default(),
            source_address: self.source_address.unwrap_or_default(),
            peer_port: self.peer_port.unwrap_or_default(),
            hold_time: self.hold_time,
            keepalive_time: self.keepalive_time,
            connect_time: self.connect_time,
            router_id: self.router_id.unwrap_or_default(),
            node_selectors: selectors(self.node_selectors),
            password: self.password.unwrap_or_default().into(),
            password_secret: secret.name.unwrap_or_default(),
            bfd_profile: self.bfd_profile.unwrap_or_default(),
            graceful_restart: self.enable_graceful_restart.unwrap_or_default(),
            ebgp_multi_hop: self.ebgp_multi_hop.unwrap_or_default(),
            vrf: self.vrf.unwrap_or_default(),
            dual_stack_address_family: self.dual_stack_address_family.unwrap_or_default(),
        };
        Declaration::Peer(object(Kind::BgpPeer, name, labels, spec))
    }
}
