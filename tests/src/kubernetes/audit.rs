//! What Corten's service account asked of an API server, by its audit log, and
//! what its roles let it ask.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::kubectl::Kubectl;

/// Logs requests of that account, and no others.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ['system:serviceaccount:corten-system:corten']
- level: None
";

/// A verb on a resource, as roles write it: `patch services/status`; of a role
/// for one namespace with ` in NAMESPACE`.
pub type Use = String;

/// What was asked for and granted, both with and without its namespace, and what
/// was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    pub granted: BTreeSet<Use>,
    pub forbidden: BTreeSet<Use>,
}

/// Of an audit log.
pub(super) fn uses(log: &Path) -> Result<Uses> {
    let text = fs::read_to_string(log).with_context(|| format!("no {}", log.display()))?;
    let mut uses = Uses::default();
    // The last line may not be written to its end yet.
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let entry: Value = serde_json::from_str(line).context("the log has JSON lines")?;
        let object = &entry["objectRef"];
        let Some(resource) = object["resource"].as_str() else {
            continue;
        };
        let part = |name: &str| object[name].as_str().unwrap_or_default();
        let verb = entry["verb"].as_str().unwrap_or_default();
        let asked = name(verb, part("apiGroup"), resource, part("subresource"));
        let namespace = part("namespace");
        let here = within(&asked, namespace);
        if entry["responseStatus"]["code"] == 403 {
            uses.forbidden.insert(here);
        } else {
            uses.granted.extend([asked, here]);
        }
    }
    Ok(uses)
}

/// Everything that Corten's roles allow.
pub fn allowed(kubectl: &Kubectl) -> Result<BTreeSet<Use>> {
    let all = "--selector=app.kubernetes.io/name=corten";
    let mut allowed = BTreeSet::new();
    for kind in ["clusterroles", "roles"] {
        let roles = kubectl.json(&["get", kind, all, "--all-namespaces"])?;
        for role in roles["items"].as_array().context("a list has items")? {
            let namespace = role["metadata"]["namespace"].as_str();
            let rules = role["rules"].as_array().context("a role has rules")?;
            for asked in rules.iter().flat_map(uses_of) {
                allowed.insert(within(&asked, namespace.unwrap_or_default()));
            }
        }
    }
    Ok(allowed)
}

/// What one rule of a role allows, without a namespace.
fn uses_of(rule: &Value) -> Vec<Use> {
    let mut uses = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            for verb in texts(&rule["verbs"]) {
                uses.push(name(verb, group, resource, sub));
            }
        }
    }
    uses
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn name(verb: &str, group: &str, resource: &str, sub: &str) -> Use {
    let mut name = format!("{verb} {resource}");
    if !sub.is_empty() {
        name += &format!("/{sub}");
    }
    if !group.is_empty() {
        name += &format!(" of {group}");
    }
    name
}

/// That use in a namespace; without one, as it is.
fn within(asked: &str, namespace: &str) -> Use {
    match namespace {
        "" => asked.to_owned(),
        _ => format!("{asked} in {namespace}"),
    }
}
