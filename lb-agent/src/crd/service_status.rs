//! `ServiceL2Status` and `ServiceBGPStatus`: who announces a Service.

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn immutable() -> Rule {
    Rule::new("self == oldSelf").message("Value is immutable")
}

/// Has no fields.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ServiceL2Status",
    plural = "servicel2statuses",
    namespaced,
    status = "ServiceL2StatusStatus",
    derive = "PartialEq",
    doc = "Which node answers ARP and NDP for a Service.",
    printcolumn(name = "Allocated Node", type_ = "string", json_path = ".status.node"),
    printcolumn(
        name = "Service Name",
        type_ = "string",
        json_path = ".status.serviceName"
    ),
    printcolumn(
        name = "Service Namespace",
        type_ = "string",
        json_path = ".status.serviceNamespace"
    )
)]
pub struct ServiceL2StatusSpec {}

/// Who answers for which Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceL2StatusStatus {
    /// The node that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = immutable())]
    pub node: Option<String>,
    /// The Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = immutable())]
    pub service_name: Option<String>,
    /// The Service's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = immutable())]
    pub service_namespace: Option<String>,
    /// The links that it answers on; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<InterfaceInfo>>,
}

/// A link of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceInfo {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Has no fields.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ServiceBGPStatus",
    plural = "servicebgpstatuses",
    namespaced,
    status = "ServiceBGPStatusStatus",
    derive = "PartialEq",
    doc = "Which peers a node tells about a Service.",
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(
        name = "Service Name",
        type_ = "string",
        json_path = ".status.serviceName"
    ),
    printcolumn(
        name = "Service Namespace",
        type_ = "string",
        json_path = ".status.serviceNamespace"
    )
)]
pub struct ServiceBGPStatusSpec {}

/// Who tells whom about which Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBGPStatusStatus {
    /// The node that tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = immutable())]
    pub node: Option<String>,
    /// The Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = immutable())]
    pub service_name: Option<String>,
    /// The Service's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = immutable())]
    pub service_namespace: Option<String>,
    /// Names of the BGPPeer objects that are to be told, whether or not the
    /// session is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<String>>,
}
