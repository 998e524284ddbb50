//! The other nodes: who has which id, and how they are reached.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ipnet::IpNet;
use lb_common::addr::Addr;
use lb_common::maps::NodeNet;
use lb_common::node::{MacEntry, NodeMacs, NodeNetValue, NodeValue, kind, mac_bits, mac_bucket};
use lb_common::table::Target;

use super::{free, taken};
use crate::dataplane::image::{Image, NO_MACS, NodeImage};
use crate::dataplane::ledger::{Given, Ledger};
use crate::dataplane::names;
use crate::desired::{Desired, Peer};
use crate::model::{NodeName, Way};
use crate::problem::Problem;

pub(super) struct Nodes {
    pub(super) ids: BTreeMap<NodeName, u16>,
    pub(super) images: BTreeMap<u16, NodeImage>,
}

impl Nodes {
    pub(super) fn assign(
        desired: &Desired,
        current: &Image,
        ledger: &Ledger,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let known: BTreeMap<_, _> = current
            .nodes
            .iter()
            .map(|(id, n)| (n.name.name, *id))
            .collect();
        let quarantined = ledger.quarantined().filter_map(|given| match given {
            Given::Node(id) => Some(id),
            Given::Backend(_) | Given::Frontend(_) | Given::Chunks(..) => None,
        });
        let taken = taken(current.nodes.keys().copied().chain(quarantined));
        let mut free = free(taken, 1, ledger.sizes.nodes);
        let (mut ids, mut images) = (BTreeMap::new(), BTreeMap::new());
        for (name, peer) in &desired.peers {
            let label = names::padded(name.as_str());
            let Some(id) = known.get(&label).copied().or_else(|| free.next()) else {
                problems.push(Problem::TooManyNodes { node: name.clone() });
                continue;
            };
            ids.insert(name.clone(), id);
            let name = lb_common::node::NodeName {
                name: label,
                addr: peer
                    .addresses
                    .first()
                    .map_or(Addr::UNSPECIFIED, |a| Addr::from(*a)),
            };
            let value = node_value(peer);
            images.insert(id, NodeImage { value, name });
        }
        Self { ids, images }
    }

    pub(super) fn target(&self, node: &NodeName) -> Target {
        self.ids
            .get(node)
            .map_or(Target::NONE, |id| Target::node(*id))
    }
}

fn node_value(peer: &Peer) -> NodeValue {
    let mut value = NodeValue::UNKNOWN;
    let Some(hop) = &peer.next_hop else {
        return value;
    };
    value.dst_mac = hop.mac;
    value.src_mac = hop.source_mac;
    value.ifindex = hop.ifindex;
    value.mtu = hop.mtu;
    match hop.way {
        Way::SameLink => value.kind = kind::SAME_LINK,
        Way::Routed {
            source,
            destination,
        } => {
            value.kind = kind::ROUTED;
            value.outer_src = source.into();
            value.outer_dst = destination.into();
        }
    }
    value
}

pub(super) fn macs(desired: &Desired, nodes: &Nodes, problems: &mut Vec<Problem>) -> Box<NodeMacs> {
    let mut macs = Box::new(NO_MACS);
    for (name, peer) in &desired.peers {
        let Some(node) = nodes.ids.get(name).copied() else {
            continue;
        };
        for mac in &peer.macs {
            let bucket = &mut macs.buckets[mac_bucket(mac_bits(*mac))];
            match bucket.ways.iter_mut().find(|way| way.node == 0) {
                Some(way) => *way = MacEntry { mac: *mac, node },
                None => problems.push(Problem::NoRoomForMac { node: name.clone() }),
            }
        }
    }
    macs
}

pub(super) fn nets(desired: &Desired, nodes: &Nodes) -> BTreeMap<NodeNet, NodeNetValue> {
    let mut nets = BTreeMap::new();
    for (name, peer) in &desired.peers {
        let Some(id) = nodes.ids.get(name).copied() else {
            continue;
        };
        let own = peer
            .addresses
            .iter()
            .map(|address| (IpNet::from(*address), true));
        let pods = peer.pod_cidrs.iter().map(|net| (*net, false));
        for (net, own) in own.chain(pods) {
            let offset = if net.addr().is_ipv4() { 96 } else { 0 };
            let key = NodeNet {
                prefix_len: u32::from(net.prefix_len()) + offset,
                addr: net.network().into(),
            };
            let value = NodeNetValue {
                node: u32::from(id),
                own: u32::from(own),
            };
            nets.entry(key).or_insert(value);
        }
    }
    nets
}
