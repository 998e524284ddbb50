//! Sessions with routers, by MetalLB's names and meanings under our prefix:
//! `metallb_bgp_session_up` is `corten_bgp_session_up`, with the same label.

use super::text::{Kind, Text};
use crate::report::routers::{BfdRow, Messages, Router, Routers};

/// Name, help, and the number.
type Counter = (&'static str, &'static str, fn(&Messages) -> u64);

const COUNTERS: [Counter; 12] = [
    ("corten_bgp_opens_sent", "OPEN messages sent.", |m| {
        m.opens.sent
    }),
    (
        "corten_bgp_opens_received",
        "OPEN messages received.",
        |m| m.opens.received,
    ),
    (
        "corten_bgp_notifications_sent",
        "NOTIFICATION messages sent.",
        |m| m.notifications.sent,
    ),
    ("corten_bgp_updates_total", "UPDATE messages sent.", |m| {
        m.updates.sent
    }),
    (
        "corten_bgp_updates_total_received",
        "UPDATE messages received.",
        |m| m.updates.received,
    ),
    (
        "corten_bgp_keepalives_sent",
        "KEEPALIVE messages sent.",
        |m| m.keepalives.sent,
    ),
    (
        "corten_bgp_keepalives_received",
        "KEEPALIVE messages received.",
        |m| m.keepalives.received,
    ),
    (
        "corten_bgp_route_refresh_sent",
        "ROUTE-REFRESH messages sent.",
        |m| m.refreshes.sent,
    ),
    ("corten_bgp_total_sent", "Messages sent.", |m| m.total.sent),
    ("corten_bgp_total_received", "Messages received.", |m| {
        m.total.received
    }),
    (
        "corten_bgp_treated_as_withdraw",
        "UPDATE messages whose routes count as withdrawn, as something is wrong with them.",
        |m| m.treated_as_withdraw,
    ),
    (
        "corten_bgp_received_prefixes",
        "Prefixes that the peer told; none is used.",
        |m| m.prefixes_received,
    ),
];

/// Name, kind, help, and the number. There are no echo packets.
type OfBfd = (&'static str, Kind, &'static str, fn(&BfdRow) -> u64);

const BFD: [OfBfd; 7] = [
    (
        "corten_bfd_session_up",
        Kind::Gauge,
        "Whether a BFD session is up.",
        |bfd| u64::from(bfd.up),
    ),
    (
        "corten_bfd_control_packet_input",
        Kind::Counter,
        "BFD control packets received.",
        |bfd| bfd.received,
    ),
    (
        "corten_bfd_control_packet_output",
        Kind::Counter,
        "BFD control packets sent.",
        |bfd| bfd.sent,
    ),
    (
        "corten_bfd_echo_packet_input",
        Kind::Counter,
        "BFD echo packets received: always 0.",
        |_| 0,
    ),
    (
        "corten_bfd_echo_packet_output",
        Kind::Counter,
        "BFD echo packets sent: always 0.",
        |_| 0,
    ),
    (
        "corten_bfd_session_up_events",
        Kind::Counter,
        "How often a BFD session came up.",
        |bfd| bfd.ups,
    ),
    (
        "corten_bfd_session_down_events",
        Kind::Counter,
        "How often a BFD session went down.",
        |bfd| bfd.downs,
    ),
];

pub(super) fn of_routers(text: &mut Text, Routers { routers }: &Routers) {
    // Some names are MetalLB's and not Prometheus' way; who has no routers has
    // none of them.
    if routers.is_empty() {
        return;
    }
    let mut family = |name, kind, help, value: &dyn Fn(&Router) -> u64| {
        text.family(name, kind, help);
        for router in routers {
            let peer = router.endpoint();
            text.sample(&[("peer", &peer)], value(router));
        }
    };
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    family(
        "corten_bgp_session_up",
        Kind::Gauge,
        "Whether a session is established.",
        &|router| u64::from(router.established),
    );
    family(
        "corten_bgp_announced_prefixes_total",
        Kind::Gauge,
        "Prefixes that the peer was told.",
        &|router| number(router.told),
    );
    family(
        "corten_bgp_pending_prefixes_total",
        Kind::Gauge,
        "Prefixes that wait for a session.",
        &|router| number(router.pending),
    );
    for (name, help, value) in COUNTERS {
        family(name, Kind::Counter, help, &|router| value(&router.messages));
    }
    let with_bfd = || {
        let all = routers.iter();
        all.filter_map(|router| router.bfd.as_ref().map(|bfd| (router, bfd)))
    };
    if with_bfd().next().is_none() {
        return;
    }
    for (name, kind, help, value) in BFD {
        text.family(name, kind, help);
        for (router, bfd) in with_bfd() {
            text.sample(&[("peer", &router.address)], value(bfd));
        }
    }
}
