//! `BGPAdvertisement`.

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use lb_core::config::declared::{BgpAdvertisementSpec, Declaration, PoolsSpec};
use lb_core::config::{Kind, Labels};
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::rule::{LIST_MAX, TEXT_MAX, community_or_alias, once, texts};
use super::selector::{LabelSelector, selectors};
use super::{Declare, NoStatus, object};

/// Tells routers about addresses of pools.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPAdvertisement",
    namespaced,
    status = "NoStatus",
    derive = "PartialEq",
    doc = "Tells routers about addresses of pools.",
    printcolumn(
        name = "IPAddressPools",
        type_ = "string",
        json_path = ".spec.ipAddressPools"
    ),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers"),
    printcolumn(
        name = "Node Selectors",
        type_ = "string",
        json_path = ".spec.nodeSelectors",
        priority = 10
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = selectors_or_aggregation())]
pub struct BGPAdvertisementSpec {
    /// Length of the prefix that is told for an IPv4 address: less than 32
    /// puts addresses together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32), extend("default" = 32))]
    pub aggregation_length: Option<i32>,
    /// Length of the prefix that is told for an IPv6 address.
    #[serde(
        rename = "aggregationLengthV6",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 128), extend("default" = 128))]
    pub aggregation_length_v6: Option<i32>,
    /// LOCAL_PREF for routers of our own AS: the highest wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// Communities: 64512:1, large:64512:1:2, or aliases from Community
    /// objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "communities")]
    #[x_kube(validation = once("communities"))]
    pub communities: Option<Vec<String>>,
    /// Names of pools. Without names and selectors: all pools.
    #[serde(rename = "ipAddressPools", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX), inner(length(max = TEXT_MAX)))]
    #[x_kube(validation = once("ipAddressPools"))]
    pub ip_address_pools: Option<Vec<String>>,
    /// Labels of pools.
    #[serde(
        rename = "ipAddressPoolSelectors",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = LIST_MAX))]
    pub ip_address_pool_selectors: Option<Vec<LabelSelector>>,
    /// Labels of nodes that tell; none: all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub node_selectors: Option<Vec<LabelSelector>>,
    /// Names of BGPPeer objects to tell; none: all peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX), inner(length(max = TEXT_MAX)))]
    #[x_kube(validation = once("peers"))]
    pub peers: Option<Vec<String>>,
    /// Labels of Services; none: all Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub service_selectors: Option<Vec<LabelSelector>>,
}

fn selectors_or_aggregation() -> Rule {
    let rule = "!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || \
        ((!has(self.aggregationLength) || self.aggregationLength == 32) && \
        (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))";
    Rule::new(rule).message(
        "serviceSelectors and aggregationLength are mutually exclusive, can only be used together \
         with default aggregationLength (32) and aggregationLengthV6 (128)",
    )
}

fn communities(_: &mut SchemaGenerator) -> Schema {
    texts(&community_or_alias(), TEXT_MAX)
}

impl Declare for BGPAdvertisementSpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        let spec = BgpAdvertisementSpec {
            pools: PoolsSpec {
                names: self.ip_address_pools.unwrap_or_default(),
                selectors: selectors(self.ip_address_pool_selectors),
            },
            aggregation_length: self.aggregation_length,
            aggregation_length_v6: self.aggregation_length_v6,
            local_pref: self.local_pref.unwrap_or_default(),
            communities: self.communities.unwrap_or_default(),
            peers: self.peers.unwrap_or_default(),
            node_selectors: selectors(self.node_selectors),
            service_selectors: selectors(self.service_selectors),
        };
        Declaration::Bgp(object(Kind::BgpAdvertisement, name, labels, spec))
    }
}
