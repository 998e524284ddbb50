//! The frames.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lb_tests::lab::address::{self, Pair};
use lb_tests::lab::{Lab, Wire};
use lb_tests::packet::{
    Segment, ethernet, ethertype, fragment, icmp, ip, tagged, with_extensions, with_options,
};

use crate::place::Place;

const MARK: &[u8] = b"foreign ";
const DIGITS: usize = 4;

/// Protocols that nobody balances: other tunnels, routing, IPsec, SCTP.
const PROTOCOLS: [u8; 9] = [2, 4, 41, 47, 50, 51, 89, 112, 132];
/// UDP ports of tunnels: VXLAN, its old one, Geneve, WireGuard, GUE, and ours.
const TUNNEL_PORTS: [u16; 6] = [4789, 8472, 6081, 51820, 6080, 6947];

/// Frames that belong together, and where they are seen, first to last.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) what: String,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) path: Vec<Place>,
    /// Places of the path up to the first router.
    pub(crate) unrouted: usize,
}

/// A frame's number is its index.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) all: Vec<Foreign>,
}

impl Script {
    /// Adds frames, made with the tag that they are to carry.
    fn add(&mut self, what: String, path: &Path, frames: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) {
        let tag = [MARK, format!("{:04}", self.all.len()).as_bytes()].concat();
        self.all.push(Foreign {
            what,
            frames: frames(&tag),
            path: path.places.clone(),
            unrouted: path.unrouted,
        });
    }

    /// Adds IP packets that go the way of the path.
    fn packets(&mut self, what: &str, path: &Path, packets: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) {
        let (first, last) = (path.places[0], path.places[path.places.len() - 1]);
        let [to, from] = path.macs;
        self.add(format!("{what}, {first:?} to {last:?}"), path, |tag| {
            let frame = |packet: &Vec<u8>| ethernet(to, from, ethertype(packet), packet);
            packets(tag).iter().map(frame).collect()
        });
    }
}

impl Script {
    /// Frames that come in by a node's uplink, or go out by it.
    pub(crate) fn through(&self, node: u8, coming: bool) -> u64 {
        let has_step = |foreign: &&Foreign| {
            let steps = foreign.path.windows(2);
            steps.into_iter().any(|step| {
                let (from, to) = (step[0], step[1]);
                let uplink = from != Place::Pod(node) && to != Place::Pod(node);
                uplink && Place::Node(node) == if coming { to } else { from }
            })
        };
        let frames = |foreign: &Foreign| foreign.frames.len();
        let frames: usize = self.all.iter().filter(has_step).map(frames).sum();
        frames.try_into().expect("there are not that many")
    }
}

/// The number in a frame's tag.
pub(crate) fn number_of(frame: &[u8]) -> Option<usize> {
    let at = frame.windows(MARK.len()).position(|bytes| bytes == MARK)?;
    let digits = frame.get(at + MARK.len()..)?.get(..DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// From where to where, by which MACs.
struct Path {
    places: Vec<Place>,
    unrouted: usize,
    /// Destination and source of the first frame.
    macs: [[u8; 6]; 2],
    ends: [Pair; 2],
}

struct Writer<'a> {
    lab: &'a Lab,
    mac: &'a dyn Fn(Place) -> [u8; 6],
    script: Script,
}

pub(crate) fn write(lab: &Lab, mac: &dyn Fn(Place) -> [u8; 6]) -> Script {
    let mut writer = Writer {
        lab,
        mac,
        script: Script::default(),
    };
    writer.write();
    writer.script
}

impl Writer<'_> {
    fn write(&mut self) {
        use Place::{Client, Node, Pod, Vxlan4, Vxlan6};
        let paths: &[&[Place]] = &[
            &[Client, Node(1)],
            &[Node(1), Client],
            &[Node(1), Node(2)],
            &[Node(3), Node(1)],
            &[Client, Node(2), Pod(2)],
            &[Pod(2), Node(2), Client],
            &[Pod(1), Node(1), Node(2), Pod(2)],
            &[Pod(3), Node(3), Node(1), Pod(1)],
            &[Vxlan4(1), Vxlan4(2)],
            &[Vxlan6(2), Vxlan6(1)],
        ];
        for places in paths {
            let path = self.path(places);
            for family in 0..2 {
                let [src, dst] = path.ends.map(|end| end.both()[family]);
                self.transport(&path, src, dst);
                self.parts(&path, src, dst);
                self.others(&path, src, dst);
            }
            self.tunnels(&path);
            if path.unrouted == path.places.len() {
                self.neighbours(&path);
                self.link(&path);
            }
        }
        if self.lab.spec().wire == Wire::SameLink {
            self.broadcasts();
        }
    }

    fn path(&self, places: &[Place]) -> Path {
        let (first, last) = (places[0], places[places.len() - 1]);
        let routed = self.lab.spec().wire == Wire::Routed && !first.is_vxlan();
        let (to, unrouted) = match first {
            Place::Pod(node) => (self.port(&self.lab.node(node).namespace(), "pod1"), 1),
            Place::Client if routed => (self.port(&self.lab.router(), "client"), 1),
            Place::Node(node) if routed => {
                (self.port(&self.lab.router(), &format!("node{node}")), 1)
            }
            _ => ((self.mac)(places[1]), 2),
        };
        Path {
            places: places.to_vec(),
            unrouted,
            macs: [to, (self.mac)(first)],
            ends: [first.address(self.lab), last.address(self.lab)],
        }
    }

    fn port(&self, namespace: &lb_tests::netns::Namespace, interface: &str) -> [u8; 6] {
        let sender = lb_tests::frames::Sender::open(namespace, interface);
        sender.expect("a device").mac()
    }

    /// TCP and UDP, of the VIPs' ports as well; none that pods answer with what
    /// they got.
    fn transport(&mut self, path: &Path, src: IpAddr, dst: IpAddr) {
        for (from, to) in [(40000, 80), (80, 40000), (40001, 5354), (5353, 53), (9, 22)] {
            let (src, dst) = (SocketAddr::new(src, from), SocketAddr::new(dst, to));
            for flags in ["S", "SA", "A", "PA", "FA", "R"] {
                let what = format!("TCP {flags} {from} {to}");
                self.script.packets(&what, path, |tag| {
                    vec![Segment::tcp(src, dst, flags).payload(tag).packet()]
                });
            }
            self.script
                .packets(&format!("UDP {from} {to}"), path, |tag| {
                    vec![Segment::udp(src, dst).payload(tag).packet()]
                });
        }
        let (src, dst) = (SocketAddr::new(src, 7000), SocketAddr::new(dst, 7001));
        self.script.packets("a wrong checksum", path, |tag| {
            let mut packet = Segment::tcp(src, dst, "PA").payload(tag).packet();
            let checksum = if src.is_ipv4() { 20 } else { 40 } + 16;
            packet[checksum] ^= 0x5a;
            vec![packet]
        });
        self.script.packets("a low TTL", path, |tag| {
            vec![Segment::udp(src, dst).ttl(5).payload(tag).packet()]
        });
    }

    /// What is large, and what comes in parts.
    fn parts(&mut self, path: &Path, src: IpAddr, dst: IpAddr) {
        let (from, to) = (SocketAddr::new(src, 40002), SocketAddr::new(dst, 5354));
        // Less what VXLAN and IPv6 around it take.
        for size in [1400, 4096, 8800] {
            self.script.packets(&format!("{size} bytes"), path, |tag| {
                vec![Segment::udp(from, to).payload(&filled(tag, size)).packet()]
            });
        }
        for (size, of) in [(64, 632), (1400, 8000)] {
            let name = format!("{of} bytes in parts of {size}");
            self.script.packets(&name, path, |tag| {
                Segment::udp(from, to)
                    .payload(&filled(tag, of))
                    .fragments(size)
            });
        }
        self.script
            .packets("a part without its first", path, |tag| {
                vec![fragment(src, dst, 17, 512, true, &filled(tag, 64))]
            });
    }

    fn others(&mut self, path: &Path, src: IpAddr, dst: IpAddr) {
        let (request, reply) = if src.is_ipv4() { (8, 0) } else { (128, 129) };
        for kind in [request, reply] {
            self.script.packets(&format!("ICMP {kind}"), path, |tag| {
                let message = [&[kind, 0, 0, 0, 0, 7, 0, 1], tag].concat();
                vec![icmp(src, dst, &message)]
            });
        }
        let (kind, code) = if src.is_ipv4() { (3, 1) } else { (1, 3) };
        self.script.packets("an ICMP error", path, |tag| {
            let (from, to) = (SocketAddr::new(dst, 80), SocketAddr::new(src, 4000));
            let inner = Segment::tcp(from, to, "A").payload(tag).packet();
            let message = [&[kind, code, 0, 0, 0, 0, 0, 0], &inner[..]].concat();
            vec![icmp(src, dst, &message)]
        });
        for protocol in PROTOCOLS {
            self.script
                .packets(&format!("IP protocol {protocol}"), path, |tag| {
                    vec![ip(src, dst, 64, protocol, &filled(tag, 60))]
                });
        }
        let (from, to) = (SocketAddr::new(src, 40003), SocketAddr::new(dst, 80));
        self.script.packets("options or extensions", path, |tag| {
            let packet = Segment::udp(from, to).payload(tag).packet();
            let with = if src.is_ipv4() {
                with_options
            } else {
                with_extensions
            };
            [1, 2, 6].map(|count| with(&packet, count)).to_vec()
        });
    }

    /// Other programs' tunnels, around packets that are for our VIP.
    fn tunnels(&mut self, path: &Path) {
        let vip = address::vip(self.lab.spec().wire, 0);
        let client = address::client().address;
        let inner = |family: usize, tag: &[u8]| {
            let from = SocketAddr::new(client.both()[family], 40004);
            let to = SocketAddr::new(vip.both()[family], 80);
            Segment::tcp(from, to, "S").payload(tag).packet()
        };
        for outer in 0..2 {
            let [src, dst] = path.ends.map(|end| end.both()[outer]);
            for (family, protocol) in [(0, 4), (1, 41)] {
                let what = format!("IP in IP, {protocol}");
                self.script.packets(&what, path, |tag| {
                    vec![ip(src, dst, 64, protocol, &inner(family, tag))]
                });
            }
            for port in TUNNEL_PORTS {
                let (from, to) = (SocketAddr::new(src, 50000), SocketAddr::new(dst, port));
                self.script.packets(&format!("to UDP {port}"), path, |tag| {
                    // The header of VXLAN, of a network that nobody has here.
                    let mut payload = vec![8, 0, 0, 0, 0, 0, 99, 0];
                    let packet = inner(0, tag);
                    payload.extend(ethernet([2; 6], [4; 6], 0x0800, &packet));
                    vec![Segment::udp(from, to).payload(&payload).packet()]
                });
            }
        }
    }

    /// ARP and neighbour discovery between the two, about the two and others.
    fn neighbours(&mut self, path: &Path) {
        let [to, from] = path.macs;
        let [own, other] = path.ends;
        for (operation, sender, target) in [
            (1, own.v4, other.v4),
            (2, own.v4, other.v4),
            (1, own.v4, [198, 51, 100, 250].into()),
            (1, own.v4, own.v4),
        ] {
            let what = format!("ARP {operation} for {target}, {:?}", path.places);
            self.script.add(what, path, |tag| {
                let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation];
                arp.extend_from_slice(&from);
                arp.extend_from_slice(&sender.octets());
                arp.extend_from_slice(if operation == 1 { &[0; 6] } else { &to });
                arp.extend_from_slice(&target.octets());
                arp.extend_from_slice(tag);
                arp.resize(46, 0);
                vec![ethernet(to, from, 0x0806, &arp)]
            });
        }
        let invented: Ipv6Addr = "2001:db8:99::99".parse().expect("an address");
        for (kind, target) in [
            (135, other.v6),
            (136, own.v6),
            (135, invented),
            (137, own.v6),
        ] {
            let what = format!("ICMPv6 {kind} about {target}, {:?}", path.places);
            self.script.add(what, path, |tag| {
                let packet = discovery(kind, own.v6, other.v6, target, tag);
                vec![ethernet(to, from, 0x86dd, &packet)]
            });
        }
    }

    /// What is no IP, or not plainly.
    fn link(&mut self, path: &Path) {
        let [to, from] = path.macs;
        // LLC, MPLS, PPPoE, EAPOL, LLDP, MACsec; those for experiments.
        for ethertype in [
            0x002e, 0x8847, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x88b5, 0x88b6,
        ] {
            let what = format!("EtherType {ethertype:04x}, {:?}", path.places);
            self.script.add(what, path, |tag| {
                vec![ethernet(to, from, ethertype, &filled(tag, 46))]
            });
        }
        for tags in 1..=3 {
            let what = format!("{tags} VLAN tags, {:?}", path.places);
            let [src, dst] = path.ends.map(|end| SocketAddr::new(end.v4.into(), 80));
            self.script.add(what, path, |tag| {
                let packet = Segment::udp(src, dst).payload(tag).packet();
                vec![tagged(&ethernet(to, from, 0x0800, &packet), tags)]
            });
        }
    }

    /// To all, and to a MAC that nobody has: a switch sends both everywhere.
    fn broadcasts(&mut self) {
        use Place::{Client, Node};
        for first in [Client, Node(2)] {
            let mut path = self.path(&[first, if first == Client { Node(2) } else { Client }]);
            path.places.extend([Node(1), Node(3)]);
            path.unrouted = path.places.len();
            let own = first.address(self.lab);
            let group: Ipv6Addr = "ff02::1".parse().expect("an address");
            let groups = [
                ([0xff; 6], [255; 4].into()),
                ([0x01, 0, 0x5e, 0, 0, 18], [224, 0, 0, 18].into()),
                ([0x06, 0, 0, 0, 0, 0x77], [192, 0, 2, 99].into()),
            ];
            for (mac, to) in groups {
                path.macs[0] = mac;
                let (src, dst) = ((own.v4, 80).into(), (IpAddr::V4(to), 80).into());
                self.script.packets(&format!("UDP to {to}"), &path, |tag| {
                    vec![Segment::udp(src, dst).payload(tag).packet()]
                });
            }
            path.macs[0] = [0xff; 6];
            self.neighbours(&path);
            path.macs[0] = [0x33, 0x33, 0, 0, 0, 1];
            for kind in [133, 134, 135, 136, 143] {
                let what = format!("ICMPv6 {kind} to all");
                self.script.packets(&what, &path, |tag| {
                    vec![discovery(kind, own.v6, group, own.v6, tag)]
                });
            }
        }
    }
}

/// A message of neighbour discovery (RFC 4861 §4), with a target and the tag in
/// an option that is passed over.
fn discovery(kind: u8, src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr, tag: &[u8]) -> Vec<u8> {
    const EXPERIMENT: u8 = 253;
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    let mut option = vec![EXPERIMENT, 2];
    option.extend_from_slice(tag);
    option.resize(16, 0);
    message.extend_from_slice(&option);
    let mut packet = icmp(src.into(), dst.into(), &message);
    // Less has passed a router (RFC 4861 §6.1, §7.1).
    packet[7] = 255;
    packet
}

/// The tag again and again.
fn filled(tag: &[u8], len: usize) -> Vec<u8> {
    tag.iter().copied().cycle().take(len).collect()
}
