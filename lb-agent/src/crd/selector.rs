//! Label selectors in objects: `LabelSelector` of apimachinery's `meta/v1`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::Rule;
use lb_core::config::declared::{RequirementSpec, SelectorSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::LIST_MAX;

/// Labels that an object has to have. All parts must fit; an empty selector
/// fits every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Conditions on labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LIST_MAX), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// A condition on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = needs_values())]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// In: its value is one of the values. NotIn: it is none of them, or the
    /// label is absent. Exists: it is there. DoesNotExist: it is absent.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: String,
    /// For In and NotIn only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Option<Vec<String>>,
}

fn needs_values() -> Rule {
    let rule = "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)";
    Rule::new(rule).message("In and NotIn need values, Exists and DoesNotExist take none")
}

impl From<LabelSelector> for SelectorSpec {
    fn from(selector: LabelSelector) -> Self {
        let requirements = selector.match_expressions.unwrap_or_default();
        let requirements = requirements.into_iter().map(|one| RequirementSpec {
            key: one.key,
            operator: one.operator,
            values: one.values.unwrap_or_default(),
        });
        Self {
            match_labels: selector.match_labels.unwrap_or_default(),
            match_expressions: requirements.collect(),
        }
    }
}

/// Of a list that need not be there.
pub(super) fn selectors(list: Option<Vec<LabelSelector>>) -> Vec<SelectorSpec> {
    let list = list.unwrap_or_default();
    list.into_iter().map(SelectorSpec::from).collect()
}
