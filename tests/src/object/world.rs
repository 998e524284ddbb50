//! A node's world for tests: one VIP of each family with a frontend for every
//! way that a packet may go, and the packets of its client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::{PerCpuArray, PerCpuValues};
use lb_common::flow::{
    Embryo, EmbryoSet, FlowKey, FlowValue, ReverseKey, ReverseValue, TCP, UDP, embryo,
};
use lb_common::fragment::{FragmentKey, FragmentValue};
use lb_common::frontend::flags;
use lb_common::table::{Slot, Target};
use lb_common::traffic::Rate;
use lb_common::tunnel::{DEFAULT_PORT, Shim};
use tokio::sync::{Mutex, MutexGuard};

use super::{Object, Sizes, routed, same_link};
use crate::packet::{Segment, ethernet, ethertype, ip};
use crate::require;

pub const UPLINK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Of the router that clients' packets come by.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// Of the node on the same link.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The nodes there are.
pub mod node {
    pub const SAME_LINK: u16 = 2;
    /// Behind a router, reached by IPv4.
    pub const ROUTED: u16 = 3;
    /// The same by IPv6.
    pub const ROUTED_V6: u16 = 4;
    /// The way there is not known.
    pub const UNKNOWN: u16 = 5;
}

/// What is behind the VIP's ports, both protocols alike.
pub mod port {
    /// A pod here.
    pub const HERE: u16 = 80;
    pub const SAME_LINK: u16 = 81;
    pub const ROUTED: u16 = 82;
    pub const ROUTED_V6: u16 = 83;
    /// Nothing.
    pub const EMPTY: u16 = 84;
    /// On the same link; if that node were not, here.
    pub const AWAY_NEXT_HERE: u16 = 85;
    /// A pod here, and the set has just changed: the node on the same link may
    /// own old flows.
    pub const HERE_NEXT_AWAY: u16 = 86;
    /// A pod here, past the stack.
    pub const DIRECT: u16 = 87;
    pub const NO_WAY: u16 = 88;
    /// The same with the routed node.
    pub const HERE_NEXT_ROUTED: u16 = 89;
    /// Nothing yet: a test may write what it likes.
    pub const FREE: u16 = 90;
    /// No frontend.
    pub const UNUSED: u16 = 99;
}

/// The pod's device on the host.
pub const POD_IFINDEX: u32 = 77;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    fn pick(self, v4: [u8; 4], v6: [u16; 8]) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(v4).into(),
            Self::V6 => Ipv6Addr::from(v6).into(),
        }
    }

    #[must_use]
    pub fn client(self) -> SocketAddr {
        let ip = self.pick([192, 0, 2, 100], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100]);
        (ip, 40000).into()
    }

    /// Ours.
    #[must_use]
    pub fn vip(self, port: u16) -> SocketAddr {
        let ip = self.pick([203, 0, 113, 80], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x80]);
        (ip, port).into()
    }

    /// Another one, with one frontend: the pod of `port::HERE`.
    #[must_use]
    pub fn other_vip(self, port: u16) -> SocketAddr {
        let ip = self.pick([203, 0, 113, 81], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x81]);
        (ip, port).into()
    }

    /// A VIP that another node owns.
    #[must_use]
    pub fn others_vip(self) -> IpAddr {
        self.pick([203, 0, 113, 82], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x82])
    }

    /// A VIP that this node owned until lately.
    #[must_use]
    pub fn expired_vip(self) -> IpAddr {
        self.pick([203, 0, 113, 83], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x83])
    }

    /// Nobody's VIP.
    #[must_use]
    pub fn stranger(self, port: u16) -> SocketAddr {
        let ip = self.pick([203, 0, 113, 9], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 9]);
        (ip, port).into()
    }

    #[must_use]
    pub fn pod(self) -> SocketAddr {
        let ip = self.pick([198, 51, 100, 10], [0x2001, 0xdb8, 3, 0, 0, 0, 0, 10]);
        (ip, 8080).into()
    }

    /// This node's own address.
    #[must_use]
    pub fn own(self) -> IpAddr {
        self.pick([192, 0, 2, 1], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1])
    }

    /// The node on the same link's address.
    #[must_use]
    pub fn same_link(self) -> IpAddr {
        self.pick([192, 0, 2, 2], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 2])
    }

    /// The routed node's address.
    #[must_use]
    pub fn routed(self) -> IpAddr {
        self.pick([198, 51, 100, 203], [0x2001, 0xdb8, 4, 0, 0, 0, 0, 3])
    }

    fn backend(self) -> u16 {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// What a client sends, as it comes by the uplink.
#[must_use]
pub fn frame(packet: &[u8]) -> Vec<u8> {
    ethernet(UPLINK_MAC, ROUTER_MAC, ethertype(packet), packet)
}

/// What a pod sends, as it leaves by the uplink.
#[must_use]
pub fn leaving(packet: &[u8]) -> Vec<u8> {
    ethernet(ROUTER_MAC, UPLINK_MAC, ethertype(packet), packet)
}

/// What a client sends, handed over by the node on the same link.
#[must_use]
pub fn from_node(packet: &[u8]) -> Vec<u8> {
    ethernet(UPLINK_MAC, NODE_MAC, ethertype(packet), packet)
}

/// The same, marked.
#[must_use]
pub fn marked_from_node(packet: &[u8]) -> Vec<u8> {
    ethernet(
        UPLINK_MAC,
        NODE_MAC,
        lb_common::tunnel::MARKED_ETHERTYPE,
        packet,
    )
}

/// A packet inside our outer header, as a node at `from` sends it.
#[must_use]
pub fn tunnelled(from: IpAddr, to: IpAddr, marked: bool, inner: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    let shim = Shim::new(marked);
    payload.extend_from_slice(&shim.magic);
    payload.extend_from_slice(&[shim.version, shim.flags]);
    payload.extend_from_slice(inner);
    let outer = Segment::udp((from, 50000).into(), (to, DEFAULT_PORT).into());
    frame(&outer.payload(&payload).packet())
}

#[derive(Debug)]
pub struct World {
    object: Object,
}

impl Deref for World {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.object
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Object {
        &mut self.object
    }
}

impl World {
    /// The world as if nothing had happened in it yet. It is loaded once, and
    /// tests wait for each other. `None`: this kind of test is to be skipped.
    ///
    /// # Panics
    /// When the data plane does not load.
    #[must_use]
    pub fn fresh() -> Option<MutexGuard<'static, Self>> {
        static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
        if !require::root("kernel") {
            return None;
        }
        let load = || Self::of_sizes(&Sizes::SMALL).expect("the data plane loads");
        let load = || Mutex::new(load());
        let mut world = WORLD.get_or_init(load).blocking_lock();
        world.reset().expect("its maps can be written");
        Some(world)
    }

    /// Forgets all flows and goes back to ample budgets.
    fn reset(&mut self) -> Result<()> {
        self.configure(|config| {
            config.rates = [super::AMPLE; 4];
            config.flags = 0;
            config.fresh_until_s = 0;
            config.embryo_sets = Sizes::SMALL.embryo_sets;
            (config.mss_v4, config.mss_v6) = (0, 0);
        })?;
        for map in ["TCP_FLOWS", "UDP_FLOWS"] {
            self.empty::<FlowKey, FlowValue>(map)?;
        }
        for map in ["TCP_REVERSE", "UDP_REVERSE"] {
            self.empty::<ReverseKey, ReverseValue>(map)?;
        }
        self.empty::<FragmentKey, FragmentValue>("FRAGMENTS")?;
        let mut sets = self.array::<EmbryoSet>("EMBRYONIC")?;
        for index in 0..sets.len() {
            sets.set(index, EmbryoSet::default(), 0)?;
        }
        let map = self.ebpf().map_mut("RATES").context("no RATES")?;
        let mut rates = PerCpuArray::<_, Rate>::try_from(map)?;
        for kind in 0..rates.len() {
            let unused = vec![Rate::default(); rates.get(&kind, 0)?.len()];
            rates.set(kind, PerCpuValues::try_from(unused)?, 0)?;
        }
        let mut filter = self.array::<u64>("CLIENT_FILTER")?;
        for index in 0..filter.len() {
            filter.set(index, 0, 0)?;
        }
        Ok(())
    }

    fn empty<K: Pod, V: Pod>(&mut self, name: &str) -> Result<()> {
        let mut map = self.hash::<K, V>(name)?;
        let keys: Vec<K> = map.keys().collect::<Result<_, _>>()?;
        for key in keys {
            map.remove(&key)?;
        }
        Ok(())
    }

    /// Another world, with maps of these sizes.
    pub fn of_sizes(sizes: &Sizes) -> Result<Self> {
        let mut object = Object::load(UPLINK_MAC, sizes)?;
        object.configure(|config| {
            config.node_v4 = Family::V4.own().into();
            config.node_v6 = Family::V6.own().into();
        })?;
        nodes(&mut object)?;
        for family in BOTH {
            object.vip(family.vip(0).ip(), u64::MAX)?;
            object.vip(family.other_vip(0).ip(), u64::MAX)?;
            object.vip(family.others_vip(), 0)?;
            object.vip(family.expired_vip(), 1)?;
            object.backend(family.backend(), family.pod(), POD_IFINDEX)?;
            for protocol in [TCP, UDP] {
                frontends(&mut object, family, protocol)?;
            }
        }
        Ok(Self { object })
    }

    /// The established flow from a client to a frontend.
    ///
    /// # Panics
    /// When the kernel's maps cannot be read.
    pub fn flow(&mut self, client: SocketAddr, vip: SocketAddr, protocol: u8) -> Option<FlowValue> {
        let map = if protocol == TCP {
            "TCP_FLOWS"
        } else {
            "UDP_FLOWS"
        };
        let flows = self.hash::<FlowKey, FlowValue>(map).expect("a map");
        flows.get(&flow_key(client, vip, protocol), 0).ok()
    }

    /// All flows in their handshake.
    ///
    /// # Panics
    /// When the kernel's maps cannot be read.
    pub fn embryos(&mut self) -> Vec<Embryo> {
        let sets = self.array::<EmbryoSet>("EMBRYONIC").expect("a map");
        sets.iter()
            .flat_map(|set| set.expect("readable").ways)
            .filter(|embryo| embryo.tag != 0)
            .collect()
    }

    /// Does to all flows in their handshake what the pod's answer does: a
    /// SYN-ACK with this sequence number.
    ///
    /// # Panics
    /// When the kernel's maps cannot be written.
    pub fn answer_embryos(&mut self, isn: u32) {
        let mut sets = self.array::<EmbryoSet>("EMBRYONIC").expect("a map");
        for index in 0..sets.len() {
            let mut set = sets.get(&index, 0).expect("readable");
            for way in set.ways.iter_mut().filter(|way| way.tag != 0) {
                way.first_isn = isn;
                way.last_isn = isn;
                way.flags |= embryo::ANSWERED;
            }
            sets.set(index, set, 0).expect("writable");
        }
    }

    /// Begins a TCP flow and carries it to where both sides have proved that
    /// they take part. The client's next sequence number is 1001, the pod's
    /// 5001.
    pub fn establish(&mut self, client: SocketAddr, vip: SocketAddr) {
        self.ingress(&frame(&Segment::tcp(client, vip, "S").packet()));
        self.answer_embryos(5000);
        let ack = Segment::tcp(client, vip, "A").seq(1001).ack(5001);
        self.ingress(&frame(&ack.packet()));
    }
}

/// The key of a flow as the client sees it.
#[must_use]
pub fn flow_key(client: SocketAddr, vip: SocketAddr, protocol: u8) -> FlowKey {
    FlowKey {
        client: client.ip().into(),
        vip: vip.ip().into(),
        client_port: client.port(),
        vip_port: vip.port(),
        protocol: protocol.into(),
    }
}

/// An ICMP error from a router about `quoted`.
#[must_use]
pub fn icmp_error(to: IpAddr, kind: u8, code: u8, rest: u32, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&rest.to_be_bytes());
    message.extend_from_slice(quoted);
    let router = match to {
        IpAddr::V4(_) => IpAddr::from([192, 0, 2, 254]),
        IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe]),
    };
    crate::packet::icmp(router, to, &message)
}

/// A packet of another tunnel between the nodes: IP in IP.
#[must_use]
pub fn ip_in_ip(family: Family, inner: &[u8]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 4 { 4 } else { 41 };
    frame(&ip(family.routed(), family.own(), 64, protocol, inner))
}

fn nodes(object: &mut Object) -> Result<()> {
    let (v4, v6) = (Family::V4, Family::V6);
    object.node(node::SAME_LINK, same_link(NODE_MAC, UPLINK_MAC))?;
    object.node(
        node::ROUTED,
        routed(ROUTER_MAC, UPLINK_MAC, v4.own(), v4.routed()),
    )?;
    object.node(
        node::ROUTED_V6,
        routed(ROUTER_MAC, UPLINK_MAC, v6.own(), v6.routed()),
    )?;
    object.node_mac(node::SAME_LINK, NODE_MAC)?;
    for (family, full) in [(v4, 32), (v6, 128)] {
        object.node_net(node::SAME_LINK, family.same_link(), full, true)?;
        object.node_net(node::ROUTED, family.routed(), full, true)?;
    }
    Ok(())
}

fn frontends(object: &mut Object, family: Family, protocol: u8) -> Result<()> {
    let here = Target::local(family.backend());
    let away = Target::node(node::SAME_LINK);
    let unsettled = flags::TCP_UNSETTLED | flags::UDP_UNSETTLED;
    let frontends = [
        (port::HERE, here, Target::NONE, 0),
        (port::SAME_LINK, away, Target::NONE, 0),
        (port::ROUTED, Target::node(node::ROUTED), Target::NONE, 0),
        (
            port::ROUTED_V6,
            Target::node(node::ROUTED_V6),
            Target::NONE,
            0,
        ),
        (port::EMPTY, Target::NONE, Target::NONE, 0),
        (port::FREE, Target::NONE, Target::NONE, 0),
        (port::AWAY_NEXT_HERE, away, here, 0),
        (port::HERE_NEXT_AWAY, here, away, unsettled),
        (
            port::HERE_NEXT_ROUTED,
            here,
            Target::node(node::ROUTED),
            unsettled,
        ),
        (port::DIRECT, here, Target::NONE, flags::DIRECT),
        (port::NO_WAY, Target::node(node::UNKNOWN), Target::NONE, 0),
    ];
    for (port, now, next, flags) in frontends {
        object.frontend(family.vip(port), protocol, Slot { now, next }, flags)?;
    }
    let slot = Slot {
        now: here,
        next: Target::NONE,
    };
    object.frontend(family.other_vip(port::HERE), protocol, slot, 0)?;
    Ok(())
}
