//! A small cluster for tests, built in one expression.

use alloc::format;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use proptest::prelude::*;

use crate::config::{Configuration, Pool};

use super::{
    Conditions, Endpoint, Facts, Inputs, Labels, Links, Member, MemberState, Members, NextHop,
    Node, NodeName, Protocol, Service, ServiceName, ServicePort, Slice, SlicePort, Way,
};
use crate::time::Timestamp;

pub(crate) const READY: Conditions = Conditions::READY;
pub(crate) const DRAINING: Conditions = Conditions {
    ready: false,
    serving: true,
    terminating: true,
};
pub(crate) const UNREADY: Conditions = Conditions {
    ready: false,
    serving: false,
    terminating: false,
};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> ServiceName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ServiceName::new(namespace, name)
}

/// Seen from `node1`.
pub(crate) fn cluster() -> Inputs {
    Inputs {
        facts: Facts::default(),
        this_node: NodeName::new("node1"),
        secret: b"secret".to_vec(),
        links: Links::default(),
        members: Members::default(),
        free: None,
    }
}

impl Inputs {
    /// A node on the same link.
    pub(crate) fn node(mut self, name: &str, address: &str) -> Self {
        let node = Node {
            name: NodeName::new(name),
            addresses: vec![ip(address)],
            pod_cidrs: vec![],
            excluded: false,
            network_unavailable: false,
            labels: Default::default(),
        };
        let number = u8::try_from(self.facts.nodes.len()).unwrap();
        if node.name != self.this_node {
            let next_hop = NextHop {
                ifindex: 2,
                source_mac: [2, 0, 0, 0, 0, 1],
                mac: [2, 0, 0, 0, 1, number],
                mtu: 1500,
                way: Way::SameLink,
            };
            let name = node.name.clone();
            let macs = [next_hop.mac].into();
            self.links.next_hops.insert(name.clone(), next_hop);
            self.links.macs.insert(name, macs);
        }
        self.facts.nodes.insert(node.name.clone(), Arc::new(node));
        self
    }

    pub(crate) fn edit_node(mut self, name: &str, edit: impl FnOnce(&mut Node)) -> Self {
        let node = self.facts.nodes.get_mut(&NodeName::new(name)).unwrap();
        edit(Arc::make_mut(node));
        self
    }

    /// These agents are down, and those of all other nodes alive.
    pub(crate) fn silent(mut self, names: &[&str]) -> Self {
        let member = |node: &NodeName| Member {
            state: if names.contains(&node.as_str()) {
                MemberState::Down
            } else {
                MemberState::Alive
            },
            since: Timestamp::default(),
            programmed: true,
            uplinks_up: true,
            returns_by: None,
            left: false,
        };
        let nodes = self.facts.nodes.keys();
        self.members.by_node = nodes.map(|node| (node.clone(), member(node))).collect();
        self.members.settled = true;
        self
    }

    /// A service on TCP port 80 of `vips` (comma separated), without slices.
    pub(crate) fn service(mut self, text: &str, vips: &str) -> Self {
        let vips = vips.split(',').filter(|vip| !vip.is_empty()).map(ip);
        let service = Service {
            status: vips.collect(),
            ports: vec![ServicePort {
                name: "http".to_string(),
                port: 80,
                protocol: Protocol::Tcp,
            }],
            ..Service::new(name(text))
        };
        let services = &mut self.facts.services;
        services.insert(service.name.clone(), Arc::new(service));
        self
    }

    /// The only pool, for all Services.
    pub(crate) fn pool(mut self, range: &str) -> Self {
        let pool = Pool {
            name: "pool".to_string(),
            labels: Labels::new(),
            ranges: vec![range.parse().unwrap()],
            auto_assign: true,
            avoid_buggy_ips: false,
            service_allocation: None,
        };
        let mut config = Configuration::default();
        config.pools.insert(pool.name.clone(), pool);
        self.facts.config.good = Some(Arc::new(config));
        self
    }

    pub(crate) fn edit_service(mut self, text: &str, edit: impl FnOnce(&mut Service)) -> Self {
        let service = self.facts.services.get_mut(&name(text)).unwrap();
        edit(Arc::make_mut(service));
        self
    }

    /// A pod of a service, on port 8080, in a slice of its family.
    pub(crate) fn pod(
        mut self,
        text: &str,
        address: &str,
        node: &str,
        conditions: Conditions,
    ) -> Self {
        let address = ip(address);
        let slices = self.facts.slices.entry(name(text)).or_default();
        let slices = Arc::make_mut(slices);
        let family = |slice: &Slice| slice.endpoints[0].address.is_ipv4();
        let at = slices.iter().position(|s| family(s) == address.is_ipv4());
        let at = at.unwrap_or_else(|| {
            slices.push(slice(text, vec![]));
            slices.len() - 1
        });
        slices[at].endpoints.push(Endpoint {
            address,
            node: (!node.is_empty()).then(|| NodeName::new(node)),
            conditions,
        });
        self
    }

    pub(crate) fn edit_slices(mut self, text: &str, edit: impl FnOnce(&mut Vec<Slice>)) -> Self {
        let slices = self.facts.slices.get_mut(&name(text)).unwrap();
        edit(Arc::make_mut(slices));
        self
    }
}

pub(crate) fn slice(text: &str, endpoints: Vec<Endpoint>) -> Slice {
    Slice {
        service: name(text),
        ports: vec![SlicePort {
            name: "http".to_string(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints,
    }
}

/// A change to the cluster, as properties make them.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Service(u8, u8),
    /// One that gets an address, if there is a pool.
    Unassigned(u8),
    Pool(u8),
    NoService(u8),
    Pod(u8, u8, u8, u8),
    NoPods(u8),
    Node(u8, bool),
    NoNode(u8),
    /// The agent of this node is not heard of any more; all others are.
    Silent(u8),
}

pub(crate) fn apply(mut inputs: Inputs, change: &Change) -> Inputs {
    let service = |n: u8| format!("s{}", n % 4);
    let node = |n: u8| format!("node{}", n % 4 + 1);
    match *change {
        Change::Service(n, vip) => inputs.service(&service(n), &format!("203.0.113.{}", vip % 4)),
        Change::Unassigned(n) => inputs.service(&service(n), ""),
        Change::Pool(n) => inputs.pool(&format!("203.0.113.{}/31", n % 3 * 2)),
        Change::NoService(n) => {
            inputs.facts.services.remove(&name(&service(n)));
            inputs
        }
        Change::Pod(n, pod, on, condition) => {
            let conditions = [READY, DRAINING, UNREADY][usize::from(condition % 3)];
            inputs.pod(
                &service(n),
                &format!("10.1.0.{}", pod % 32),
                &node(on),
                conditions,
            )
        }
        Change::NoPods(n) => {
            inputs.facts.slices.remove(&name(&service(n)));
            inputs
        }
        Change::Node(n, excluded) => inputs
            .node(&node(n), &format!("192.0.2.{}", n % 4 + 1))
            .edit_node(&node(n), |node| node.excluded = excluded),
        Change::NoNode(n) => {
            inputs.facts.nodes.remove(&NodeName::new(&node(n)));
            inputs
        }
        Change::Silent(n) => inputs.silent(&[&node(n)]),
    }
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<(u8, u8)>().prop_map(|(a, b)| Change::Service(a, b)),
        any::<u8>().prop_map(Change::Unassigned),
        any::<u8>().prop_map(Change::Pool),
        any::<u8>().prop_map(Change::NoService),
        any::<(u8, u8, u8, u8)>().prop_map(|(a, b, c, d)| Change::Pod(a, b, c, d)),
        any::<u8>().prop_map(Change::NoPods),
        any::<(u8, bool)>().prop_map(|(a, b)| Change::Node(a, b)),
        any::<u8>().prop_map(Change::NoNode),
        any::<u8>().prop_map(Change::Silent),
    ]
}
