//! What a run counts, and what a count says about the rate behind it.

use std::ops::AddAssign;

use crate::node::Time;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) runs: u64,
    /// TCP connections that were opened.
    pub(crate) opened: u64,
    /// Established, and reset though its own pod lives.
    pub(crate) lost: u64,
    /// The same, but an earlier connection of the same tuple was mixed up.
    pub(crate) stale: u64,
    /// The same, before the first request was answered.
    pub(crate) handshakes: u64,
    /// The same, but its node had lost its maps while other nodes got its
    /// packets.
    pub(crate) forgotten: u64,
    /// Unanswered for two minutes, though its pod lives.
    pub(crate) hung: u64,
    /// Unanswered for two minutes, and its pod is gone: it deserved an RST.
    pub(crate) silent: u64,
    pub(crate) stalls_2s: u64,
    pub(crate) stalls_15s: u64,
    pub(crate) udp_flows: u64,
    /// UDP flows that went to another pod though their own lives.
    pub(crate) udp_moves: u64,
    /// Packets of clients, and how often they were handed over.
    pub(crate) packets: u64,
    pub(crate) hand_overs: u64,
    pub(crate) hand_overs_max: u64,
    pub(crate) unsettled: u64,
    pub(crate) stranded: u64,
}

impl Counts {
    /// What column F of flow-consistency.md counts, and what hung besides.
    pub(crate) fn losses(&self) -> u64 {
        self.lost + self.stale + self.handshakes + self.forgotten + self.hung
    }

    pub(crate) fn stall(&mut self, waited: Time) {
        self.stalls_2s += u64::from(waited > 2_000);
        self.stalls_15s += u64::from(waited > 15_000);
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.opened += other.opened;
        self.lost += other.lost;
        self.stale += other.stale;
        self.handshakes += other.handshakes;
        self.forgotten += other.forgotten;
        self.hung += other.hung;
        self.silent += other.silent;
        self.stalls_2s += other.stalls_2s;
        self.stalls_15s += other.stalls_15s;
        self.udp_flows += other.udp_flows;
        self.udp_moves += other.udp_moves;
        self.packets += other.packets;
        self.hand_overs += other.hand_overs;
        self.hand_overs_max = self.hand_overs_max.max(other.hand_overs_max);
        self.unsettled += other.unsettled;
        self.stranded += other.stranded;
    }
}

/// The most losses of `flows` flows that a true rate of `per_10k` explains:
/// the smallest count that a Poisson variable of that mean exceeds with a
/// chance below one in a hundred.
///
/// A rate that was measured as 0 is read as half a loss in the 52,000 flows
/// behind a cell of column F: "none seen" does not mean "none possible".
pub(crate) fn most_losses(flows: u64, per_10k: f64) -> u64 {
    let flows = f64::from(u32::try_from(flows).unwrap_or(u32::MAX));
    let mean = flows / 10_000.0 * per_10k.max(0.1);
    let (mut count, mut term) = (0_u32, (-mean).exp());
    let mut below = term;
    while below < 0.99 {
        count += 1;
        term *= mean / f64::from(count);
        below += term;
    }
    u64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_flows_bound_a_rate_loosely_and_many_tightly() {
        // 1 of 10,000 expected: five are one in 270, four one in 52.
        assert_eq!(most_losses(10_000, 1.0), 4);
        assert_eq!(most_losses(1_000, 1.0), 1);
        assert_eq!(most_losses(1_000_000, 1.0), 124);
        assert_eq!(most_losses(1_000, 0.0), 0);
    }
}
