//! Where frames are sent and captured.

use anyhow::Result;
use lb_tests::lab::address::{self, Pair};
use lb_tests::lab::{Lab, Place as PodPlace, UPLINK};
use lb_tests::netns::Namespace;

/// The VXLAN devices of nodes, by the family between them.
const VXLAN: [&str; 2] = ["vx4", "vx6"];
const PORT: u16 = 4789;

/// A device of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Client,
    Node(u8),
    /// The first pod of the node.
    Pod(u8),
    /// Of a node, over IPv4.
    Vxlan4(u8),
    Vxlan6(u8),
}

impl Place {
    pub(crate) fn namespace(self, lab: &Lab) -> Namespace {
        match self {
            Self::Client => lab.client(),
            Self::Node(node) | Self::Vxlan4(node) | Self::Vxlan6(node) => {
                lab.node(node).namespace()
            }
            Self::Pod(node) => lab.pod(node, 1).namespace(),
        }
    }

    pub(crate) fn interface(self) -> &'static str {
        match self {
            Self::Client | Self::Node(_) | Self::Pod(_) => UPLINK,
            Self::Vxlan4(_) => VXLAN[0],
            Self::Vxlan6(_) => VXLAN[1],
        }
    }

    pub(crate) fn is_vxlan(self) -> bool {
        matches!(self, Self::Vxlan4(_) | Self::Vxlan6(_))
    }

    /// Of what is there; of VXLAN devices, which have none, an invented one.
    pub(crate) fn address(self, lab: &Lab) -> Pair {
        match self {
            Self::Client => address::client().address,
            Self::Node(node) => lab.node(node).address(),
            Self::Pod(node) => address::pod(PodPlace { node, pod: 1 }),
            Self::Vxlan4(node) | Self::Vxlan6(node) => Pair {
                v4: [203, 0, 113, node].into(),
                v6: [0x2001, 0xdb8, 7, 0, 0, 0, 0, node.into()].into(),
            },
        }
    }
}

pub(crate) fn all(lab: &Lab) -> Vec<Place> {
    let of_node = |node| [Place::Node(node), Place::Pod(node)];
    let mut all: Vec<Place> = lab.spec().node_numbers().flat_map(of_node).collect();
    all.push(Place::Client);
    all.extend([1, 2].map(Place::Vxlan4));
    all.extend([1, 2].map(Place::Vxlan6));
    all
}

/// Connects the first two nodes, as many a CNI does.
pub(crate) fn add_vxlan(lab: &Lab) -> Result<()> {
    for (node, other) in [(1, 2), (2, 1)] {
        let ends = lab.node(node).address().both().into_iter();
        let ends = ends.zip(lab.node(other).address().both());
        for ((device, (own, peer)), id) in VXLAN.iter().zip(ends).zip(41..) {
            lab.node(node).namespace().ip(&format!(
                "link add {device} type vxlan id {id} local {own} remote {peer} \
                 dstport {PORT} dev {UPLINK}\n\
                 link set {device} up\n"
            ))?;
        }
    }
    Ok(())
}
