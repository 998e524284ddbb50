//! Metrics of membership.

use super::text::{Kind, Text};
use crate::driver::peers::PeersReport;

const STATES: [&str; 5] = ["alive", "suspect", "down", "leaving", "absent"];

pub(super) fn of_peers(text: &mut Text, report: &PeersReport) {
    text.family(
        "corten_members_settled",
        Kind::Gauge,
        "Whether all agents that are there are known.",
    );
    text.sample(&[], u8::from(report.settled));
    text.family(
        "corten_member",
        Kind::Gauge,
        "Whether the agent of a node is in this state, as this one sees it.",
    );
    for peer in &report.peers {
        for state in STATES {
            let is = u8::from(peer.state == state);
            text.sample(&[("node", &peer.node), ("state", &state)], is);
        }
    }
    text.family(
        "corten_member_counts",
        Kind::Gauge,
        "Whether a node may own VIPs, as far as its agent says.",
    );
    for peer in &report.peers {
        text.sample(&[("node", &peer.node)], u8::from(peer.counts));
    }
    text.family(
        "corten_peer_beats_total",
        Kind::Counter,
        "Beats to and from the agent of a node.",
    );
    for peer in &report.peers {
        let ways = [("sent", peer.beats_sent), ("received", peer.beats_received)];
        for (way, count) in ways {
            text.sample(&[("node", &peer.node), ("way", &way)], count);
        }
    }
    text.family(
        "corten_peer_round_trip_microseconds",
        Kind::Gauge,
        "The last time that an answer took.",
    );
    for peer in &report.peers {
        if let Some(time) = peer.round_trip_us {
            text.sample(&[("node", &peer.node)], time);
        }
    }
    text.family(
        "corten_peer_dropped_total",
        Kind::Counter,
        "Datagrams between agents that were of no use, by reason.",
    );
    for (reason, count) in &report.dropped {
        text.sample(&[("reason", reason)], count);
    }
}
