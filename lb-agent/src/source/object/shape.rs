//! What is read of an object: only the fields that matter, as the Kubernetes
//! API names them. The same for files and for the API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct Metadata {
    pub(in crate::source) name: Option<String>,
    pub(in crate::source) namespace: Option<String>,
    pub(in crate::source) labels: Option<BTreeMap<String, Option<String>>>,
    pub(in crate::source) annotations: Option<BTreeMap<String, Option<String>>>,
    pub(in crate::source) creation_timestamp: Option<String>,
    pub(in crate::source) uid: Option<String>,
    pub(in crate::source) resource_version: Option<String>,
    pub(in crate::source) deletion_timestamp: Option<String>,
}

impl Metadata {
    pub(in crate::source) fn label(&self, name: &str) -> Option<&str> {
        let value = self.labels.as_ref()?.get(name)?;
        Some(value.as_deref().unwrap_or_default())
    }

    pub(in crate::source) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name)?.as_deref()
    }
}

#[derive(Clone, Debug, Default)]
pub(in crate::source) struct ServiceBody {
    pub(in crate::source) spec: ServiceSpec,
    pub(in crate::source) status: ServiceStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(in crate::source) kind: Option<String>,
    pub(in crate::source) ports: Option<Vec<ServicePort>>,
    pub(in crate::source) selector: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "clusterIP")]
    pub(in crate::source) cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub(in crate::source) cluster_ips: Option<Vec<String>>,
    pub(in crate::source) ip_families: Option<Vec<Family>>,
    pub(in crate::source) ip_family_policy: Option<FamilyPolicy>,
    pub(in crate::source) external_traffic_policy: Option<TrafficPolicy>,
    #[serde(rename = "loadBalancerIP")]
    pub(in crate::source) load_balancer_ip: Option<String>,
    pub(in crate::source) load_balancer_class: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::source) enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::source) enum FamilyPolicy {
    #[serde(rename = "SingleStack")]
    Single,
    #[serde(rename = "PreferDualStack")]
    Prefer,
    #[serde(rename = "RequireDualStack")]
    Require,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::source) enum TrafficPolicy {
    Cluster,
    Local,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::source) struct ServicePort {
    pub(in crate::source) name: Option<String>,
    pub(in crate::source) port: u16,
    pub(in crate::source) protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::source) enum Protocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "SCTP")]
    Sctp,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct ServiceStatus {
    pub(in crate::source) load_balancer: Option<LoadBalancerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::source) struct LoadBalancerStatus {
    pub(in crate::source) ingress: Option<Vec<Ingress>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct Ingress {
    pub(in crate::source) ip: Option<IpAddr>,
    pub(in crate::source) ip_mode: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::source) struct SliceBody {
    pub(in crate::source) address_type: Option<String>,
    pub(in crate::source) endpoints: Vec<Endpoint>,
    pub(in crate::source) ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct Endpoint {
    pub(in crate::source) addresses: Vec<String>,
    pub(in crate::source) node_name: Option<String>,
    pub(in crate::source) conditions: Option<Conditions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::source) struct Conditions {
    pub(in crate::source) ready: Option<bool>,
    pub(in crate::source) serving: Option<bool>,
    pub(in crate::source) terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::source) struct SlicePort {
    pub(in crate::source) name: Option<String>,
    pub(in crate::source) port: Option<u16>,
    pub(in crate::source) protocol: Option<Protocol>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::source) struct NodeBody {
    pub(in crate::source) spec: NodeSpec,
    pub(in crate::source) status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::source) struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub(in crate::source) pod_cidr: Option<IpNet>,
    #[serde(rename = "podCIDRs")]
    pub(in crate::source) pod_cidrs: Option<Vec<IpNet>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::source) struct NodeStatus {
    pub(in crate::source) addresses: Option<Vec<NodeAddress>>,
    pub(in crate::source) conditions: Option<Vec<NodeCondition>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::source) struct NodeAddress {
    #[serde(rename = "type")]
    pub(in crate::source) kind: String,
    pub(in crate::source) address: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::source) struct NodeCondition {
    #[serde(rename = "type")]
    pub(in crate::source) kind: String,
    pub(in crate::source) status: String,
}
