//! `Community`.

use kube::{CustomResource, KubeSchema};
use lb_core::config::declared::{CommunitySpec as Declared, Declaration};
use lb_core::config::{Kind, Labels};
use serde::{Deserialize, Serialize};

use super::rule::{LIST_MAX, community};
use super::{Declare, NoStatus, object};

/// Names for BGP communities.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "Community",
    plural = "communities",
    namespaced,
    status = "NoStatus",
    derive = "PartialEq",
    doc = "Names for BGP communities."
)]
pub struct CommunitySpec {
    /// The names. None may stand in two objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX))]
    pub communities: Option<Vec<CommunityAlias>>,
}

/// A name for a community.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct CommunityAlias {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 64512:1, or large:64512:1:2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = community())]
    pub value: Option<String>,
}

impl Declare for CommunitySpec {
    fn declare(self, name: &str, labels: Labels) -> Declaration {
        let aliases = self.communities.unwrap_or_default().into_iter();
        let aliases = aliases.map(|alias| {
            let CommunityAlias { name, value } = alias;
            (name.unwrap_or_default(), value.unwrap_or_default())
        });
        let aliases = aliases.collect();
        let spec = Declared { aliases };
        Declaration::Community(object(Kind::Community, name, labels, spec))
    }
}
