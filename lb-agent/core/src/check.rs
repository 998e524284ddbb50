//! What `lb-agent check` says about facts, without a machine to run on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::desired::{Desired, Memo, desired};
use crate::model::{Facts, Inputs, Links, Members, NodeName};
use crate::problem::Problem;

/// All problems that can be told from the facts alone, as the first of their
/// nodes would see them; the worst first. What depends on links and routes is
/// left out.
#[must_use]
pub fn check(facts: &Facts) -> Vec<Problem> {
    let this_node = facts.nodes.keys().next().cloned();
    let inputs = Inputs {
        facts: facts.clone(),
        this_node: this_node.unwrap_or_else(|| NodeName::new("")),
        secret: Vec::new(),
        links: Links::default(),
        members: Members::default(),
        free: None,
    };
    let desired = desired(&inputs, &mut Memo::default());
    let mut problems = backends_that_are_vips(&desired);
    problems.extend(desired.problems.into_iter().filter(is_of_facts));
    problems.sort_by_key(Problem::severity);
    problems
}

fn is_of_facts(problem: &Problem) -> bool {
    !matches!(
        problem,
        Problem::ThisNodeUnknown { .. }
            | Problem::NoNextHop { .. }
            | Problem::PodLinkUnknown { .. }
    )
}

/// Not a matter for every change: it looks at all endpoints there are.
fn backends_that_are_vips(desired: &Desired) -> Vec<Problem> {
    let mut found = BTreeMap::new();
    for frontend in desired.frontends.values() {
        for backend in &frontend.backends {
            if let Some(vip) = desired.vips.get(&backend.address) {
                let key = (frontend.service.clone(), backend.address);
                found.insert(key, vip.service.clone());
            }
        }
    }
    let found = found.into_iter();
    found
        .map(|((service, address), holder)| Problem::BackendIsVip {
            service,
            address,
            holder,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::declared::{Declared, Object, PoolSpec};
    use crate::config::{Kind, Labels, Place};
    use crate::model::sample::{READY, cluster};
    use alloc::string::ToString as _;

    fn names(facts: &Facts) -> Vec<&'static str> {
        check(facts).iter().map(Problem::name).collect()
    }

    #[test]
    fn good_facts_have_no_problem_although_no_link_is_known() {
        let inputs = cluster()
            .node("node1", "192.0.2.11")
            .node("node2", "192.0.2.12")
            .service("web", "203.0.113.80")
            .edit_service("web", |s| s.delivery = crate::model::Delivery::Direct)
            .pod("web", "10.1.1.2", "node1", READY);
        assert!(names(&inputs.facts).is_empty());
    }

    #[test]
    fn the_worst_comes_first() {
        let inputs = cluster()
            .node("node1", "192.0.2.11")
            .service("web", "203.0.113.80")
            .service("loop", "203.0.113.81")
            .pod("loop", "203.0.113.80", "node1", READY)
            .pod("loop", "10.1.1.2", "node7", READY);
        let expected = ["BackendIsVip", "BackendWithoutAgent", "NoSlices"];
        assert_eq!(names(&inputs.facts), expected);
    }

    #[test]
    fn an_address_that_is_not_given_is_a_warning_that_says_why() {
        let wants = |inputs: Inputs| {
            let inputs = inputs.node("node1", "192.0.2.11").service("web", "");
            let inputs = inputs.pod("web", "10.1.1.2", "node1", READY);
            inputs.edit_service("web", |s| s.request.addresses = Some("here".into()))
        };
        let problems = check(&wants(cluster()).facts);
        assert_eq!(problems.len(), 1, "and not that it has none: {problems:?}");
        assert_eq!(problems[0].severity(), crate::problem::Severity::Warning);
        let expected = "default/web gets no address: invalid metallb.io/loadBalancerIPs: \
                        \"here\"; ask for one address of each family";
        let text = alloc::string::ToString::to_string(&problems[0]);
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn without_nodes_nobody_answers() {
        let inputs = cluster().service("web", "203.0.113.80");
        assert_eq!(names(&inputs.facts), ["NoOwner", "NoSlices"]);
    }

    #[test]
    fn a_configuration_that_is_refused_is_an_error_and_the_rest_goes_on() {
        let mut inputs = cluster()
            .node("node1", "192.0.2.11")
            .service("web", "203.0.113.80")
            .pod("web", "10.1.1.2", "node1", READY);
        let mut declared = Declared::default();
        declared.pools.push(Object {
            name: "empty".to_string(),
            labels: Labels::new(),
            place: Place::object(Kind::IpAddressPool, "empty"),
            spec: PoolSpec::default(),
        });
        let config = &mut inputs.facts.config;
        *config = config.with(&declared, &[]);
        let problems = check(&inputs.facts);
        assert_eq!(
            problems[0].to_string(),
            "IPAddressPool empty: spec.addresses: pool has no prefixes defined: until it is \
             corrected, the last good configuration holds"
        );
        assert_eq!(names(&inputs.facts), ["ConfigurationRefused"]);
    }
}
