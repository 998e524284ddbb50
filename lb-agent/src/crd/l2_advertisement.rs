//! `L2Advertisement`.

use kube::{CustomResource, KubeSchema};
use lb_core::config::declared::PreferenceSpec;
use lb_core::config::declared::{Declaration, L2AdvertisementSpec as Declared, PoolsSpec};
use lb_core::config::{Kind, Labels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::{LIST_MAX, TEXT_MAX, once};
use super::selector::{LabelSelector, selectors};
use super::{Declare, NoStatus, object};

/// Answers ARP and NDP for addresses of pools.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "L2Advertisement",
    namespaced,
    status = "NoStatus",
    derive = "PartialEq",
    doc = "Answers ARP and NDP for addresses of pools.",
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
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".spec.interfaces"),
    printcolumn(
        name = "Node Selectors",
        type_ = "string",
        json_path = ".spec.nodeSelectors",
        priority = 10
    )
)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
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
    /// Labels of nodes that may answer; none: all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub node_selectors: Option<Vec<LabelSelector>>,
    /// Names of the links to answer on; none: all links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<String>>,
    /// Labels of Services; none: all Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub service_selectors: Option<Vec<LabelSelector>>,
    /// Nodes that should rather answer than others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub preferred_node_selectors: Option<Vec<PreferredNodeSelector>>,
}

/// The weights of all that fit a node are added up; the highest sum answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreferredNodeSelector {
    /// How much it counts.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// Labels of nodes; an empty selector fits all.
    pub preference: LabelSelector,
}

impl Declare for L2AdvertisementSpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        let preferences = self.preferred_node_selectors.unwrap_or_default();
        let preferences = preferences.into_iter().map(|one| PreferenceSpec {
            weight: one.weight,
            preference: one.preference.into(),
        });
        let spec = Declared {
            pools: PoolsSpec {
                names: self.ip_address_pools.unwrap_or_default(),
                selectors: selectors(self.ip_address_pool_selectors),
            },
            node_selectors: selectors(self.node_selectors),
            interfaces: self.interfaces.unwrap_or_default(),
            service_selectors: selectors(self.service_selectors),
            preferred_node_selectors: preferences.collect(),
        };
        Declaration::L2(object(Kind::L2Advertisement, name, labels, spec))
    }
}
