//! Sessions with routers, by MetalLB's names and meanings under our prefix:
//! `metallb_bgp_session_up` is `corten_bgp_session_up`, with the same label.

use super::text::{Kind, Text};
use crate::report::routers::{BfdRow, Router, Routers};

/// Name, kind, help, and the number.
type Row<T> = (&'static str, Kind, &'static str, fn(&T) -> u64);

const ROUTERS: [Row<Router>; 15] = [
    (
        "corten_bgp_session_up",
        Kind::Gauge,
        "Whether a session is established.",
        |router| u64::from(router.established),
    ),
    (
        "corten_bgp_announced_prefixes_total",
        Kind::Gauge,
        "Prefixes that the peer was told.",
        |router| number(router.told),
    ),
    (
        "corten_bgp_pending_prefixes_total",
        Kind::Gauge,
        "Prefixes that wait for a session.",
        |router| number(router.pending),
    ),
    (
        "corten_bgp_opens_sent",
        Kind::Counter,
        "OPEN messages sent.",
        |router| router.messages.opens.sent,
    ),
    (
        "corten_bgp_opens_received",
        Kind::Counter,
        "OPEN messages received.",
        |router| router.messages.opens.received,
    ),
    (
        "corten_bgp_notifications_sent",
        Kind::Counter,
        "NOTIFICATION messages sent.",
        |router| router.messages.notifications.sent,
    ),
    (
        "corten_bgp_updates_total",
        Kind::Counter,
        "UPDATE messages sent.",
        |router| router.messages.updates.sent,
    ),
    (
        "corten_bgp_updates_total_received",
        Kind::Counter,
        "UPDATE messages received.",
        |router| router.messages.updates.received,
    ),
    (
        "corten_bgp_keepalives_sent",
        Kind::Counter,
        "KEEPALIVE messages sent.",
        |router| router.messages.keepalives.sent,
    ),
    (
        "corten_bgp_keepalives_received",
        Kind::Counter,
        "KEEPALIVE messages received.",
        |router| router.messages.keepalives.received,
    ),
    (
        "corten_bgp_route_refresh_sent",
        Kind::Counter,
        "ROUTE-REFRESH messages sent.",
        |router| router.messages.refreshes.sent,
    ),
    (
        "corten_bgp_total_sent",
        Kind::Counter,
        "Messages sent.",
        |router| router.messages.total.sent,
    ),
    (
        "corten_bgp_total_received",
        Kind::Counter,
        "Messages received.",
        |router| router.messages.total.received,
    ),
    (
        "corten_bgp_treated_as_withdraw",
        Kind::Counter,
        "UPDATE messages whose routes count as withdrawn, as something is wrong with them.",
        |router| router.messages.treated_as_withdraw,
    ),
    (
        "corten_bgp_received_prefixes",
        Kind::Counter,
        "Prefixes that the peer told; none is used.",
        |router| router.messages.prefixes_received,
    ),
];

/// There are no echo packets.
const BFD: [Row<BfdRow>; 7] = [
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
    let with_bfd = routers.iter().filter_map(|router| {
        let bfd = router.bfd.as_ref()?;
        Some((router.address.clone(), bfd))
    });
    let with_bfd: Vec<_> = with_bfd.collect();
    let all: Vec<_> = routers.iter().map(|r| (r.endpoint(), r)).collect();
    families(text, &ROUTERS, &all);
    families(text, &BFD, &with_bfd);
}

/// Some names are MetalLB's and not Prometheus' way; who has nobody to say them
/// of has none of them.
fn families<T>(text: &mut Text, rows: &[Row<T>], peers: &[(String, &T)]) {
    if peers.is_empty() {
        return;
    }
    for (name, kind, help, value) in rows {
        text.family(name, *kind, help);
        for (peer, of) in peers {
            text.sample(&[("peer", peer)], value(of));
        }
    }
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
