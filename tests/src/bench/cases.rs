//! Which packets of which flows are measured, and what each may cost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::verdict::Reason;

use super::kernel::{Hook, LEN, Load};
use super::{MANY, MOST, VIPS};
use crate::object::world::{Family, frame, port};
use crate::packet::Segment;

const FLOOD: u32 = 1 << 22;

/// The one case for which a flag of the frontend is set.
pub(super) const DIRECT: &str = "local delivery, direct, TCP IPv4";

/// What is measured.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) load: Load,
    pub(super) hook: Hook,
    pub(super) program: &'static str,
    pub(super) reason: Reason,
    /// Flows of the yardstick that it is compared with.
    pub(super) yardstick: u32,
    /// The most that it may cost, in yardsticks; 0: nothing is promised.
    pub(super) limit: f64,
}

/// 1,024 VIPs whose pods are on the same link: the last two bytes of their
/// addresses count from 0.
pub(super) fn spread_vip(family: Family, number: u32) -> SocketAddr {
    let ip: IpAddr = match family {
        Family::V4 => Ipv4Addr::from_bits(0xcb00_0000 + number).into(),
        Family::V6 => {
            let first = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0));
            Ipv6Addr::from(first + u128::from(number)).into()
        }
    };
    (ip, port::SAME_LINK).into()
}

/// The frame, filled up with payload.
pub(super) fn padded(segment: &Segment) -> Vec<u8> {
    let bare = frame(&segment.clone().payload(&[]).packet()).len();
    let frame = frame(&segment.clone().payload(&[0x2e; LEN][bare..]).packet());
    assert_eq!(frame.len(), LEN, "all frames are alike");
    frame
}

fn arp() -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0xfe, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0xfe, 192, 0, 2, 100, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[203, 0, 113, 80]);
    bytes.resize(LEN, 0);
    bytes
}

/// Everything, in the order of the table.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (flows, index) in [(1, 0), (MANY, 1), (MOST, 2)] {
        of_flows(&mut cases, flows, index);
    }
    floods(&mut cases);
    rest(&mut cases);
    cases.sort_by_key(|case| case.name);
    cases
}

fn client_case(
    name: &'static str,
    family: Family,
    segment: &Segment,
    (flows, yardstick): (u32, u32),
    reason: Reason,
    limit: f64,
) -> Case {
    Case {
        name,
        load: Load {
            frame: padded(segment),
            flows,
            vips: 1,
            layout: if family == Family::V4 { 4 } else { 6 },
        },
        hook: Hook::Xdp,
        program: "lb_ingress",
        reason,
        yardstick,
        limit,
    }
}

/// Those that are measured at every number of flows.
fn of_flows(cases: &mut Vec<Case>, flows: u32, index: usize) {
    const HAND_OVER: [f64; 3] = [1.9, 0.5, 0.2];
    const DELIVERY: [f64; 3] = [3.2, 1.8, 1.4];
    let (v4, v6) = (Family::V4, Family::V6);
    let tcp = |family: Family, port| Segment::tcp(family.client(), family.vip(port), "A");
    let udp = |family: Family, port| Segment::udp(family.client(), family.vip(port));
    let here = Reason::delivered_established;
    let (away, routed) = (Reason::handed_over, Reason::handed_over_routed);
    let limit = HAND_OVER[index];
    let state = DELIVERY[index];
    let rows = [
        (
            "hand-over, same link, TCP IPv4",
            v4,
            tcp(v4, port::SAME_LINK),
            away,
            limit,
        ),
        (
            "hand-over, same link, TCP IPv6",
            v6,
            tcp(v6, port::SAME_LINK),
            away,
            limit,
        ),
        (
            "hand-over, same link, UDP IPv4",
            v4,
            udp(v4, port::SAME_LINK),
            away,
            limit,
        ),
        (
            "hand-over, same link, UDP IPv6",
            v6,
            udp(v6, port::SAME_LINK),
            away,
            limit,
        ),
        (
            "hand-over, routed, TCP IPv4",
            v4,
            tcp(v4, port::ROUTED),
            routed,
            0.0,
        ),
        (
            "hand-over, routed, TCP IPv6",
            v6,
            tcp(v6, port::ROUTED),
            routed,
            0.0,
        ),
        (
            "local delivery, stack, TCP IPv4",
            v4,
            tcp(v4, port::HERE),
            here,
            state,
        ),
        (DIRECT, v4, tcp(v4, port::HERE), here, state),
    ];
    for (name, family, segment, reason, limit) in rows {
        cases.push(client_case(
            name,
            family,
            &segment,
            (flows, flows),
            reason,
            limit,
        ));
    }
    for (name, family) in [
        ("hand-over, same link, 1,024 VIPs, TCP IPv4", v4),
        ("hand-over, same link, 1,024 VIPs, TCP IPv6", v6),
    ] {
        let segment = Segment::tcp(family.client(), spread_vip(family, 0), "A");
        let mut case = client_case(name, family, &segment, (flows, flows), away, 0.0);
        case.load.vips = VIPS.min(flows);
        cases.push(case);
    }
    let answer = Segment::tcp(v4.pod(), v4.client(), "A");
    let mut case = client_case(
        "egress translation, TCP IPv4",
        v4,
        &answer,
        (flows, flows),
        Reason::reply_translated,
        0.0,
    );
    case.load.layout = 14;
    case.hook = Hook::Tc;
    case.program = "lb_egress";
    cases.push(case);
}

/// SYNs of four million flows, compared with the yardstick of one.
fn floods(cases: &mut Vec<Case>) {
    let family = Family::V4;
    for (name, port, reason, limit) in [
        (
            "SYN flood, at the ingress node",
            port::SAME_LINK,
            Reason::handed_over,
            1.9,
        ),
        (
            "SYN flood, at the pod's node",
            port::HERE,
            Reason::delivered_new,
            3.2,
        ),
    ] {
        let syn = Segment::tcp(family.client(), family.vip(port), "S");
        cases.push(client_case(name, family, &syn, (FLOOD, 1), reason, limit));
    }
}

fn rest(cases: &mut Vec<Case>) {
    for (name, family) in [
        ("not for us, IPv4", Family::V4),
        ("not for us, IPv6", Family::V6),
    ] {
        let ack = Segment::tcp(family.client(), family.stranger(80), "A");
        cases.push(client_case(
            name,
            family,
            &ack,
            (1, 1),
            Reason::not_for_us,
            0.9,
        ));
    }
    let family = Family::V4;
    let answer = Segment::tcp(family.stranger(80), family.client(), "A");
    let mut case = client_case(
        "egress, not a pod's",
        family,
        &answer,
        (1, 1),
        Reason::egress_untouched,
        0.0,
    );
    (case.load.layout, case.hook, case.program) = (14, Hook::Tc, "lb_egress");
    cases.push(case);
    cases.push(Case {
        name: "ARP, answered",
        load: Load {
            frame: arp(),
            flows: 1,
            vips: 1,
            layout: 0,
        },
        hook: Hook::Xdp,
        program: "lb_ingress",
        reason: Reason::arp_answered,
        yardstick: 1,
        limit: 0.0,
    });
}
