//! The network of a lab: namespaces, links, addresses, routes.

use std::path::PathBuf;

use anyhow::Result;

use super::Lab;
use super::address::{self, Interface, Pair};
use super::link::{Link, assign, set_offload};
use super::spec::{Place, Wire};
use super::wire::{behave_as_wire, write_pass_program};
use crate::netns::Namespace;

/// The interface towards the network, of nodes, client and pods alike.
pub const UPLINK: &str = "eth0";

const BRIDGE: &str = "br0";

/// For every namespace: IPv6 on, addresses usable at once, no surprises.
const QUIET: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// For what forwards packets: nodes and the router.
const FORWARDING: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
];

impl Lab {
    pub(super) fn build_network(&self) -> Result<()> {
        write_pass_program(&self.pass_program())?;
        let client = self.add_namespace(self.client())?;
        let middle = match self.spec.wire {
            Wire::SameLink => self.add_switch()?,
            Wire::Routed => {
                let router = self.add_namespace(self.router())?;
                router.sysctl(FORWARDING)?;
                router
            }
        };
        self.plug(&middle, &client, "client", address::client())?;
        if self.spec.wire == Wire::Routed {
            assign(&middle, "client", address::client_gateway())?;
            default_route(&client, address::client_gateway().address)?;
        }
        for node in self.spec.node_numbers() {
            self.add_node(&middle, node)?;
        }
        for place in self.spec.pod_places() {
            self.add_pod(place)?;
        }
        if self.spec.kubernetes.is_some() {
            for node in self.nodes() {
                // As every node has one: Services' own addresses are routed
                // somewhere before kube-proxy's rules see them.
                default_route(&node.namespace(), address::client().address)?;
            }
            let host = self.add_namespace(self.control_plane())?;
            self.plug(&middle, &host, "control-plane", address::control_plane())?;
            // Webhooks are served by pods.
            for node in self.nodes() {
                route_pods(&host, node.number(), node.address())?;
            }
        }
        Ok(())
    }

    fn pass_program(&self) -> PathBuf {
        self.folder().join("pass.o")
    }

    fn add_namespace(&self, namespace: Namespace) -> Result<Namespace> {
        Namespace::add(namespace.name())?;
        namespace.sysctl(QUIET)?;
        Ok(namespace)
    }

    fn add_switch(&self) -> Result<Namespace> {
        let switch = self.switch();
        Namespace::add(switch.name())?;
        // A switch is no host: it has no addresses, not even link-local ones.
        switch.sysctl(&[("net/ipv6/conf/default/disable_ipv6", "1")])?;
        switch.ip(&format!(
            "link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set {BRIDGE} up\n"
        ))?;
        Ok(switch)
    }

    /// Connects a namespace to the switch or router, whose end of the link
    /// has the name `port`.
    fn plug(
        &self,
        middle: &Namespace,
        namespace: &Namespace,
        port: &str,
        own: Interface,
    ) -> Result<()> {
        self.connect(middle, namespace, port)?;
        assign(namespace, UPLINK, own)
    }

    /// A further machine on the nodes' link, without addresses; it goes with
    /// the lab.
    pub fn add_bystander(&self, name: &str) -> Result<Namespace> {
        let bystander = self.add_namespace(self.namespace(name))?;
        self.connect(&self.switch(), &bystander, name)?;
        Ok(bystander)
    }

    fn connect(&self, middle: &Namespace, namespace: &Namespace, port: &str) -> Result<()> {
        let link = Link {
            from: (namespace, UPLINK),
            to: (middle, port),
            mtu: self.spec.mtu,
        };
        link.add()?;
        behave_as_wire(middle, port, &self.pass_program())?;
        if self.spec.wire == Wire::SameLink {
            middle.ip(&format!("link set {port} master {BRIDGE}"))?;
        }
        Ok(())
    }

    fn add_node(&self, middle: &Namespace, number: u8) -> Result<()> {
        let node = self.add_namespace(self.node(number).namespace())?;
        node.sysctl(FORWARDING)?;
        let name = format!("node{number}");
        let own = address::node(self.spec.wire, number);
        self.plug(middle, &node, &name, own)?;
        set_offload(&node, UPLINK, self.spec.offload)?;
        match self.spec.wire {
            // As a CNI does where nodes share a link.
            Wire::SameLink => {
                for other in self.spec.node_numbers().filter(|other| *other != number) {
                    let via = address::node(self.spec.wire, other).address;
                    route_pods(&node, other, via)?;
                }
            }
            // As a CNI does that tells its routes to the router.
            Wire::Routed => {
                let gateway = address::node_gateway(number);
                assign(middle, &name, gateway)?;
                default_route(&node, gateway.address)?;
                route_pods(middle, number, own.address)?;
            }
        }
        Ok(())
    }

    fn add_pod(&self, place: Place) -> Result<()> {
        let node = self.node(place.node).namespace();
        let pod = self.add_namespace(self.namespace(&place.name()))?;
        let port = format!("pod{}", place.pod);
        let link = Link {
            from: (&pod, UPLINK),
            to: (&node, &port),
            mtu: self.spec.mtu,
        };
        link.add()?;
        let Pair { v4, v6 } = address::pod(place);
        let gateway = address::pod_gateway(place.node);
        pod.ip(&format!(
            "address add {v4}/32 dev {UPLINK}\n\
             address add {v6}/128 dev {UPLINK} nodad\n\
             route add {gateway4} dev {UPLINK} scope link\n\
             route add {gateway6} dev {UPLINK}\n\
             route add default via {gateway4} dev {UPLINK}\n\
             route add default via {gateway6} dev {UPLINK}\n",
            gateway4 = gateway.v4,
            gateway6 = gateway.v6,
        ))?;
        node.ip(&format!(
            "address add {gateway4}/32 dev {port}\n\
             address add {gateway6}/128 dev {port} nodad\n\
             route add {v4} dev {port} scope link\n\
             route add {v6} dev {port}\n",
            gateway4 = gateway.v4,
            gateway6 = gateway.v6,
        ))?;
        set_offload(&pod, UPLINK, self.spec.offload)?;
        set_offload(&node, &port, self.spec.offload)
    }
}

fn default_route(namespace: &Namespace, via: Pair) -> Result<()> {
    namespace.ip(&format!(
        "route add default via {}\nroute add default via {}\n",
        via.v4, via.v6
    ))
}

/// Routes a node's pods through one of its addresses.
pub(super) fn route_pods(namespace: &Namespace, node: u8, via: Pair) -> Result<()> {
    let [v4, v6] = address::pod_subnets(node);
    namespace.ip(&format!(
        "route replace {v4} via {}\nroute replace {v6} via {}\n",
        via.v4, via.v6
    ))
}
