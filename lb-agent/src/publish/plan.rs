//! What is to be written so that Services say what was decided. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_core::ipam::{Allocation, Assignment};
use lb_core::model::ServiceName;
use serde_json::{Value, json};

use crate::source::Handle;

/// Where MetalLB says which pool the addresses are of.
const FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// One write to a Service's status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    pub(super) service: ServiceName,
    /// The version of the object that was decided upon.
    pub(super) version: String,
    pub(super) change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// It has these addresses, of this pool.
    Set {
        addresses: Vec<IpAddr>,
        pool: Option<String>,
    },
    /// It has none.
    Clear,
}

/// What differs from what is there: first what takes addresses away.
pub(super) fn writes(
    assignment: &Assignment,
    handles: &BTreeMap<ServiceName, Arc<Handle>>,
) -> Vec<Write> {
    let allocations = assignment.allocations.iter();
    let writes = allocations.filter_map(|(service, allocation)| {
        let handle = handles.get(service)?;
        let change = change(allocation, handle)?;
        Some(Write {
            service: service.clone(),
            version: handle.version.clone(),
            change,
        })
    });
    let mut writes: Vec<_> = writes.collect();
    writes.sort_by_key(|write| write.change != Change::Clear);
    writes
}

fn change(allocation: &Allocation, handle: &Handle) -> Option<Change> {
    let there = handle.ingress.iter().filter_map(|entry| entry.ip);
    let there: Vec<IpAddr> = there.collect();
    if allocation.addresses.is_empty() {
        // Names of hosts are from somebody else.
        return (!there.is_empty() || handle.pool.is_some()).then_some(Change::Clear);
    }
    let plain = handle.ingress.len() == there.len();
    let all_vips = handle
        .ingress
        .iter()
        .all(|entry| entry.mode.as_deref() == Some("VIP"));
    let same = there == allocation.addresses && handle.pool == allocation.pool;
    (!(same && plain && all_vips)).then(|| Change::Set {
        addresses: allocation.addresses.clone(),
        pool: allocation.pool.clone(),
    })
}

impl Write {
    /// For server-side apply: all that we say of the Service, and nothing else.
    /// None where something is to be taken away that somebody else may have
    /// written: an apply leaves that.
    pub(super) fn apply(&self) -> Option<Value> {
        let Change::Set {
            addresses,
            pool: Some(pool),
        } = &self.change
        else {
            return None;
        };
        Some(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": &*self.service.name,
                "namespace": &*self.service.namespace,
                "resourceVersion": self.version,
                "annotations": { FROM_POOL: pool },
            },
            "status": { "loadBalancer": { "ingress": ingress(addresses) } },
        }))
    }

    /// For a merge patch: what is null goes, whoever wrote it.
    pub(super) fn merge(&self) -> Value {
        let (ingress, pool) = match &self.change {
            Change::Set { addresses, pool } => (ingress(addresses), json!(pool)),
            Change::Clear => (Value::Null, Value::Null),
        };
        json!({
            "metadata": {
                "resourceVersion": self.version,
                "annotations": { FROM_POOL: pool },
            },
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    }
}

fn ingress(addresses: &[IpAddr]) -> Value {
    let entries = addresses
        .iter()
        .map(|ip| json!({"ip": ip, "ipMode": "VIP"}));
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Ingress;

    fn handle(ips: &[&str], pool: Option<&str>) -> Handle {
        let ingress = ips.iter().map(|ip| Ingress {
            ip: ip.parse().ok(),
            mode: Some("VIP".to_owned()),
        });
        Handle {
            uid: "uid".to_owned(),
            version: "7".to_owned(),
            ingress: ingress.collect(),
            pool: pool.map(str::to_owned),
        }
    }

    fn wanted(ips: &[&str], pool: Option<&str>) -> Allocation {
        Allocation {
            addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            pool: pool.map(str::to_owned),
            ..Allocation::default()
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written() {
        let main = Some("main");
        for ips in [&[][..], &["192.0.2.1"], &["192.0.2.1", "2001:db8::1"]] {
            let pool = main.filter(|_| !ips.is_empty());
            assert_eq!(change(&wanted(ips, pool), &handle(ips, pool)), None);
        }
        let named = handle(&["lb.example.org"], None);
        assert_eq!(change(&wanted(&[], None), &named), None, "of somebody else");
    }

    #[test]
    fn every_difference_is_written() {
        let set = |ips: &[&str], pool| {
            Some(Change::Set {
                addresses: wanted(ips, pool).addresses,
                pool: pool.map(str::to_owned),
            })
        };
        let there = handle(&["192.0.2.1"], Some("main"));
        let (one, two) = (&["192.0.2.1"][..], &["192.0.2.2"][..]);
        for (wish, expected) in [
            (wanted(two, Some("main")), set(two, Some("main"))),
            (wanted(one, Some("other")), set(one, Some("other"))),
            (wanted(one, None), set(one, None)),
            (wanted(&[], None), Some(Change::Clear)),
        ] {
            assert_eq!(change(&wish, &there), expected);
        }
        let mut proxy = there.clone();
        proxy.ingress[0].mode = Some("Proxy".to_owned());
        let wish = wanted(one, Some("main"));
        assert_eq!(change(&wish, &proxy), set(one, Some("main")));
        let only_annotated = handle(&[], Some("main"));
        assert_eq!(
            change(&wanted(&[], None), &only_annotated),
            Some(Change::Clear)
        );
    }

    #[test]
    fn addresses_are_taken_away_before_any_are_given() {
        let name = |name| ServiceName::new("default", name);
        let mut assignment = Assignment::default();
        let mut handles = BTreeMap::new();
        for (service, have, wish) in [
            ("a", &[][..], &["192.0.2.1"][..]),
            ("b", &["192.0.2.1"], &[]),
            ("c", &[], &["192.0.2.3"]),
        ] {
            let pool = (!wish.is_empty()).then_some("main");
            assignment
                .allocations
                .insert(name(service), wanted(wish, pool));
            handles.insert(name(service), Arc::new(handle(have, None)));
        }
        assignment
            .allocations
            .insert(name("gone"), wanted(&["192.0.2.4"], None));
        let order = writes(&assignment, &handles);
        let order: Vec<_> = order
            .iter()
            .map(|write| write.service.name.to_string())
            .collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn an_apply_says_what_is_ours_and_names_the_version() {
        let write = Write {
            service: ServiceName::new("default", "web"),
            version: "7".to_owned(),
            change: Change::Set {
                addresses: wanted(&["192.0.2.1"], None).addresses,
                pool: Some("main".to_owned()),
            },
        };
        let expected = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "default", "resourceVersion": "7",
                "annotations": {"metallb.io/ip-allocated-from-pool": "main"},
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}},
        });
        assert_eq!(write.apply(), Some(expected));
        let clear = Write {
            change: Change::Clear,
            ..write
        };
        assert_eq!(clear.apply(), None);
        assert_eq!(
            clear.merge()["status"]["loadBalancer"]["ingress"],
            Value::Null
        );
        assert_eq!(clear.merge()["metadata"]["resourceVersion"], "7");
    }
}
