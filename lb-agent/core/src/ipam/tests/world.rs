//! Pools and Services in one expression.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::config::{Configuration, Labels, Pool, ServiceAllocation};
use crate::ipam::{Allocation, Assignment, PoolUse, assign};
use crate::model::sample::{ip, name};
use crate::model::{Facts, Origin, Protocol, Service, ServicePort};

#[derive(Clone)]
pub(super) struct World {
    pub(super) facts: Facts,
}

/// A cluster whose configuration has been read, and is empty.
pub(super) fn cluster() -> World {
    let mut facts = Facts {
        origin: Origin::Cluster,
        ..Facts::default()
    };
    facts.config.good = Some(Arc::default());
    World { facts }
}

pub(super) fn files() -> World {
    let mut world = cluster();
    world.facts.origin = Origin::Files;
    world
}

/// `key=value` pairs with commas between them.
pub(super) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn port(text: &str) -> ServicePort {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    ServicePort {
        name: text.to_string(),
        port: number.parse().unwrap(),
        protocol: match protocol {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        },
    }
}

impl World {
    fn config(&mut self) -> &mut Configuration {
        let good = &mut self.facts.config.good;
        Arc::make_mut(good.get_or_insert_default())
    }

    /// For everybody, of ranges with commas between them.
    pub(super) fn pool(mut self, name: &str, ranges: &str) -> Self {
        let pool = Pool {
            name: name.to_string(),
            labels: Labels::new(),
            ranges: ranges.split(',').map(|r| r.parse().unwrap()).collect(),
            auto_assign: true,
            avoid_buggy_ips: false,
            service_allocation: None,
        };
        self.config().pools.insert(name.to_string(), pool);
        self
    }

    pub(super) fn edit_pool(mut self, name: &str, edit: impl FnOnce(&mut Pool)) -> Self {
        edit(self.config().pools.get_mut(name).unwrap());
        self
    }

    pub(super) fn no_pool(mut self, name: &str) -> Self {
        self.config().pools.remove(name);
        self
    }

    /// For some only: the last pool that was made.
    pub(super) fn pinned(self, name: &str, edit: impl FnOnce(&mut ServiceAllocation)) -> Self {
        self.edit_pool(name, |pool| {
            edit(pool.service_allocation.get_or_insert_default());
        })
    }

    pub(super) fn namespace(mut self, name: &str, of: &str) -> Self {
        let namespaces = &mut self.facts.namespaces;
        namespaces.insert(name.into(), Arc::new(labels(of)));
        self
    }

    /// With an IPv4 cluster IP and TCP port 80; it asks for nothing.
    pub(super) fn service(mut self, text: &str) -> Self {
        let mut service = Service::new(name(text));
        service.ports = vec![port("80")];
        service.request.cluster_ips = vec![ip("10.96.0.1")];
        let services = &mut self.facts.services;
        services.insert(service.name.clone(), Arc::new(service));
        self
    }

    pub(super) fn services(self, names: &[&str]) -> Self {
        names.iter().fold(self, |world, name| world.service(name))
    }

    pub(super) fn no_service(mut self, text: &str) -> Self {
        self.facts.services.remove(&name(text));
        self
    }

    pub(super) fn edit(mut self, text: &str, edit: impl FnOnce(&mut Service)) -> Self {
        let service = self.facts.services.get_mut(&name(text)).unwrap();
        edit(Arc::make_mut(service));
        self
    }

    pub(super) fn asks_for(self, text: &str, addresses: &str) -> Self {
        self.edit(text, |s| s.request.addresses = Some(addresses.to_string()))
    }

    pub(super) fn asks_for_pool(self, text: &str, pool: &str) -> Self {
        self.edit(text, |s| s.request.pool = Some(pool.to_string()))
    }

    pub(super) fn shares(self, text: &str, key: &str, ports: &str) -> Self {
        self.edit(text, |s| {
            s.request.sharing_key = Some(key.to_string());
            s.ports = ports.split(',').map(port).collect();
        })
    }

    /// Its status says so.
    pub(super) fn has(self, text: &str, addresses: &str) -> Self {
        let addresses = addresses.split(',').filter(|a| !a.is_empty());
        let addresses = addresses.map(ip).collect();
        self.edit(text, |s| s.status = addresses)
    }

    pub(super) fn created(self, text: &str, at_s: u64) -> Self {
        self.edit(text, |s| s.created_s = Some(at_s))
    }

    pub(super) fn assign(&self) -> Assignment {
        assign(&self.facts)
    }

    pub(super) fn allocation(&self, text: &str) -> Allocation {
        self.assign().allocations[&name(text)].clone()
    }

    /// What a Service gets: `addresses of pool`, or why not.
    pub(super) fn of(&self, text: &str) -> String {
        let allocation = self.allocation(text);
        let addresses = allocation.addresses.iter();
        let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
        match (allocation.pool, allocation.refusal) {
            (Some(pool), None) => format!("{} of {pool}", addresses.join(" ")),
            (Some(pool), Some(why)) => format!("{} of {pool}, but {why}", addresses.join(" ")),
            (None, Some(why)) => format!("nothing: {why}"),
            (None, None) => format!("{} of nothing", addresses.join(" ")),
        }
    }

    #[track_caller]
    pub(super) fn check(self, expected: &[(&str, &str)]) -> Self {
        for (service, expected) in expected {
            assert_eq!(self.of(service), *expected, "{service}");
        }
        self
    }

    /// `kind reason: message`.
    pub(super) fn events(&self, text: &str) -> Vec<String> {
        let events = self.allocation(text).events.into_iter();
        let event =
            |e: crate::ipam::Event| format!("{} {}: {}", e.kind.as_str(), e.reason, e.message);
        events.map(event).collect()
    }

    pub(super) fn usage(&self, pool: &str) -> PoolUse {
        self.assign().pools[pool]
    }

    /// Writes what one Service is to have.
    pub(super) fn write_one(mut self, text: &str, assignment: &Assignment) -> Self {
        let allocation = &assignment.allocations[&name(text)];
        if let Some(service) = self.facts.services.get_mut(&name(text)) {
            let service = Arc::make_mut(service);
            service.status.clone_from(&allocation.addresses);
            service.request.allocated_from.clone_from(&allocation.pool);
        } else {
            self.facts.released.remove(&name(text));
        }
        self
    }

    /// Writes what all are to have, until nothing changes any more.
    pub(super) fn settle(mut self) -> Self {
        for _ in 0..10 {
            let assignment = self.assign();
            let next = assignment
                .allocations
                .keys()
                .fold(self.clone(), |world, name| {
                    world.write_one(&name.to_string(), &assignment)
                });
            if next.facts == self.facts {
                return self;
            }
            self = next;
        }
        panic!("it does not settle: {:?}", self.facts.services);
    }

    pub(super) fn statuses(&self) -> BTreeMap<String, Vec<String>> {
        let services = self.facts.services.values();
        let status = |s: &Service| s.status.iter().map(ToString::to_string).collect();
        services
            .map(|service| (service.name.to_string(), status(service)))
            .collect()
    }
}
