//! `BFDProfile`.

use kube::{CustomResource, KubeSchema};
use lb_core::config::declared::{BfdProfileSpec, Declaration};
use lb_core::config::{Kind, Labels};
use serde::{Deserialize, Serialize};

use super::{Declare, NoStatus, object};

/// How fast the failure of a BGP peer is noticed (BFD, RFC 5880).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BFDProfile",
    namespaced,
    status = "NoStatus",
    derive = "PartialEq",
    doc = "How fast the failure of a BGP peer is noticed (BFD, RFC 5880).",
    printcolumn(
        name = "Passive Mode",
        type_ = "boolean",
        json_path = ".spec.passiveMode"
    ),
    printcolumn(
        name = "Transmit Interval",
        type_ = "integer",
        json_path = ".spec.transmitInterval"
    ),
    printcolumn(
        name = "Receive Interval",
        type_ = "integer",
        json_path = ".spec.receiveInterval"
    ),
    printcolumn(
        name = "Multiplier",
        type_ = "integer",
        json_path = ".spec.detectMultiplier"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// The least time between packets that we take, in milliseconds; 300 if
    /// not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub receive_interval: Option<u32>,
    /// The least time between packets that we send, in milliseconds; 300 if
    /// not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub transmit_interval: Option<u32>,
    /// How many packets in a row have to be missing; 3 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub detect_multiplier: Option<u32>,
    /// The least time between echo packets, in milliseconds; 50 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub echo_interval: Option<u32>,
    /// Whether echo packets are sent. Not possible over several hops, nor where
    /// IPv6 addresses are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Whether we wait for the peer to begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// The least TTL of packets of a session over several hops.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: Option<u32>,
}

impl Declare for BFDProfileSpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        let spec = BfdProfileSpec {
            receive_interval: self.receive_interval,
            transmit_interval: self.transmit_interval,
            detect_multiplier: self.detect_multiplier,
            echo_interval: self.echo_interval,
            echo_mode: self.echo_mode.unwrap_or_default(),
            passive_mode: self.passive_mode.unwrap_or_default(),
            minimum_ttl: self.minimum_ttl,
        };
        Declaration::BfdProfile(object(Kind::BfdProfile, name, labels, spec))
    }
}
