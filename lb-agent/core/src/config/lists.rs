//! Lists that several kinds have: selectors, names.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::declared::{RequirementSpec, SelectorSpec};
use super::refused::Refusals;
use super::{LabelSelector, Place, Reason, Requirement, SelectorError};

/// The selectors of a list, none of which stands there twice.
pub(super) fn selectors(
    place: &Place,
    field: &str,
    specs: &[SelectorSpec],
    refusals: &mut Refusals,
) -> Vec<LabelSelector> {
    let mut all = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(selector) = selector(place, &field, spec, refusals) else {
            continue;
        };
        if all.contains(&selector) {
            let value = format!("{selector}");
            refusals.refuse(place, &field, Reason::Duplicate { value });
        }
        all.push(selector);
    }
    all
}

pub(super) fn selector(
    place: &Place,
    field: &str,
    spec: &SelectorSpec,
    refusals: &mut Refusals,
) -> Option<LabelSelector> {
    let read = parse(spec).map_err(Reason::Selector);
    refusals.keep(place, field, read)
}

fn parse(spec: &SelectorSpec) -> Result<LabelSelector, SelectorError> {
    let mut selector = LabelSelector::of_labels(spec.match_labels.clone())?;
    let requirements = spec.match_expressions.iter().map(|requirement| {
        let RequirementSpec {
            key,
            operator,
            values,
        } = requirement;
        Requirement::new(key, operator, values)
    });
    selector.match_expressions = requirements.collect::<Result<_, _>>()?;
    // Kubernetes compares them in no order.
    selector.match_expressions.sort();
    Ok(selector)
}

/// Refuses what stands twice in a list.
pub(super) fn once(place: &Place, field: &str, texts: &[String], refusals: &mut Refusals) {
    for (index, text) in texts.iter().enumerate() {
        if texts[..index].contains(text) {
            let value = format!("\"{text}\"");
            let field = format!("{field}[{index}]");
            refusals.refuse(place, &field, Reason::Duplicate { value });
        }
    }
}
