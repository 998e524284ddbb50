//! `IPAddressPool`.

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use lb_core::config::declared::{Declaration, PoolSpec, ServiceAllocationSpec};
use lb_core::config::{Kind, Labels};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::rule::{ADDRESS_MAX, ADDRESSES_MAX, LIST_MAX, TEXT_MAX, once};
use super::selector::{LabelSelector, selectors};
use super::{Declare, object};

/// Addresses that Services of type LoadBalancer may get.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "IPAddressPool",
    namespaced,
    status = "IPAddressPoolStatus",
    derive = "PartialEq",
    doc = "Addresses that Services of type LoadBalancer may get.",
    printcolumn(
        name = "Auto Assign",
        type_ = "boolean",
        json_path = ".spec.autoAssign"
    ),
    printcolumn(
        name = "Avoid Buggy IPs",
        type_ = "boolean",
        json_path = ".spec.avoidBuggyIPs"
    ),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses")
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// CIDRs (192.0.2.0/24) and ranges (192.0.2.10-192.0.2.20), IPv4 and IPv6.
    /// No address may be in two pools.
    #[schemars(schema_with = "addresses")]
    pub addresses: Vec<String>,
    /// Whether Services that ask for no pool may get addresses of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub auto_assign: Option<bool>,
    /// Keeps addresses that end with .0 or .255 out of the pool.
    #[serde(rename = "avoidBuggyIPs", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub avoid_buggy_ips: Option<bool>,
    /// Which Services the pool is for, and in which order pools are tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
}

/// Services in one of the namespaces, by name or by labels, with the labels of
/// one of the selectors. What is empty is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// The lowest number comes first; 0, or none, comes last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Names of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX), inner(length(max = TEXT_MAX)))]
    #[x_kube(validation = once("namespaces"))]
    pub namespaces: Option<Vec<String>>,
    /// Labels of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub namespace_selectors: Option<Vec<LabelSelector>>,
    /// Labels of Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub service_selectors: Option<Vec<LabelSelector>>,
}

/// How many addresses are taken, and how many are free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IPAddressPoolStatus {
    /// IPv4 addresses that Services have.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// IPv6 addresses that Services have.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// IPv4 addresses that are free.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// IPv6 addresses that are free; the largest number there is for more.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
}

/// The rule that a range must not run backwards is for IPv4 alone: CEL cannot
/// compare IPv6 addresses. The agent can.
fn addresses(_: &mut SchemaGenerator) -> Schema {
    // Ends by number: the API server's estimate of `all` is far too high.
    let end = |n: usize| format!("self.split('-')[{n}].trim()");
    let (start, last) = (end(0), end(1));
    let range = format!("self.matches('^[^-]+-[^-]+$') && isIP({start}) && isIP({last})");
    let either = format!("isCIDR(self) || ({range})");
    let families = format!("!({range}) || ip({start}).family() == ip({last}).family()");
    let number = |end: &str| {
        let parts = [16_777_216, 65_536, 256, 1].iter().enumerate();
        let parts = parts.map(|(n, weight)| format!("int({end}.split('.')[{n}]) * {weight}"));
        parts.collect::<Vec<_>>().join(" + ")
    };
    let forwards = format!(
        "!({range}) || self.contains(':') || {} <= {}",
        number(&start),
        number(&last)
    );
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": ADDRESSES_MAX,
        "items": {
            "type": "string",
            "maxLength": ADDRESS_MAX,
            "x-kubernetes-validations": [
                Rule::new(either).message(
                    "invalid CIDR or IP range: it is a CIDR (192.0.2.0/24) or a range \
                     (192.0.2.10-192.0.2.20)"
                ),
                Rule::new(families).message(
                    "invalid IP range: start and end are of different families"
                ),
                Rule::new(forwards).message("invalid IP range: the start is after the end"),
            ],
        },
    })
}

impl Declare for IPAddressPoolSpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        let allocation = self.service_allocation.map(|a| ServiceAllocationSpec {
            priority: a.priority.unwrap_or_default(),
            namespaces: a.namespaces.unwrap_or_default(),
            namespace_selectors: selectors(a.namespace_selectors),
            service_selectors: selectors(a.service_selectors),
        });
        let spec = PoolSpec {
            addresses: self.addresses,
            auto_assign: self.auto_assign,
            avoid_buggy_ips: self.avoid_buggy_ips.unwrap_or_default(),
            service_allocation: allocation,
        };
        Declaration::Pool(object(Kind::IpAddressPool, name, labels, spec))
    }
}
