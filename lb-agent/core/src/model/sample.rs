//! A small cluster for tests, built in one expression.

use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{
    Conditions, Delivery, Endpoint, Facts, Inputs, Links, NextHop, Node, NodeName, Protocol,
    Service, ServiceName, ServicePort, Slice, SlicePort, Way,
};

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

    /// A service on TCP port 80 of `vips` (comma separated), without slices.
    pub(crate) fn service(mut self, text: &str, vips: &str) -> Self {
        let vips = vips.split(',').filter(|vip| !vip.is_empty()).map(ip);
        let service = Service {
            name: name(text),
            vips: vips.collect(),
            ports: vec![ServicePort {
                name: "http".to_string(),
                port: 80,
                protocol: Protocol::Tcp,
            }],
            delivery: Delivery::Stack,
            created_s: None,
        };
        let services = &mut self.facts.services;
        services.insert(service.name.clone(), Arc::new(service));
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
