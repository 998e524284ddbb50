//! Asking the link before a VIP is used for the first time.
//!
//! RFC 5227 §2.1 for IPv4 and RFC 4862 §5.4 for IPv6, faster: three probes
//! 200 ms apart and 300 ms of silence after the last, where the RFC waits five
//! to nine seconds (its §1.3 allows that where the link is known; hosts answer
//! within milliseconds, and a Service that waits for its address is an
//! outage). A VIP that moves from one node to another was used before and is
//! not probed. One that somebody answers for is asked about again every 10 s.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::IpAddr;
use core::time::Duration;

use crate::model::Mac;
use crate::time::Timestamp;

const PROBES: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(200);
const AFTER_LAST: Duration = Duration::from_millis(300);
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By all links of the VIP.
    Probe(IpAddr),
    /// Nobody answered: it may be used.
    Free(IpAddr),
    /// The machine of this MAC answered.
    Taken(IpAddr, Mac),
}

#[derive(Clone, Copy, Debug)]
struct State {
    began: Timestamp,
    sent: u32,
    next: Timestamp,
    /// The last finding, if there is one: said once.
    taken: Option<Mac>,
}

/// Probes the VIPs that this node would be the first to use.
#[derive(Debug, Default)]
pub struct Prober {
    states: BTreeMap<IpAddr, State>,
    out: VecDeque<Ask>,
}

impl Prober {
    /// All that are to be asked about; what was asked about before goes on.
    pub fn configure(&mut self, vips: &BTreeSet<IpAddr>, now: Timestamp) {
        self.states.retain(|vip, _| vips.contains(vip));
        for vip in vips {
            self.states.entry(*vip).or_insert(State {
                began: now,
                sent: 0,
                next: now,
                taken: None,
            });
        }
        self.handle_timeout(now);
    }

    /// Somebody said at that moment to have it.
    pub fn handle_claim(&mut self, vip: IpAddr, mac: Mac, at: Timestamp) {
        let Some(state) = self.states.get_mut(&vip) else {
            return;
        };
        if at < state.began {
            return;
        }
        if state.taken != Some(mac) {
            self.out.push_back(Ask::Taken(vip, mac));
        }
        *state = State {
            began: at + AGAIN,
            sent: 0,
            next: at + AGAIN,
            taken: Some(mac),
        };
    }

    /// Harmless when early. Claims that came before `now` are to be told first.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let out = &mut self.out;
        self.states.retain(|vip, state| {
            if now < state.next {
                return true;
            }
            if state.sent == PROBES {
                out.push_back(Ask::Free(*vip));
                return false;
            }
            if state.sent == 0 {
                state.began = now;
            }
            out.push_back(Ask::Probe(*vip));
            state.sent += 1;
            state.next = now
                + if state.sent < PROBES {
                    BETWEEN
                } else {
                    AFTER_LAST
                };
            true
        });
    }

    pub fn poll_output(&mut self) -> Option<Ask> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; none: nothing is asked about.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.states.values().map(|state| state.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const MAC: Mac = [2, 0, 0, 0, 0, 0x66];

    fn at(ms: u64) -> Timestamp {
        Timestamp::since_boot(Duration::from_millis(ms))
    }

    fn vip() -> IpAddr {
        "192.0.2.80".parse().unwrap()
    }

    /// What it says until then, and when.
    fn run(prober: &mut Prober, until_ms: u64) -> Vec<(u128, Ask)> {
        let mut said = Vec::new();
        let mut now = Timestamp::default();
        loop {
            while let Some(ask) = prober.poll_output() {
                said.push((now.since(Timestamp::default()).as_millis(), ask));
            }
            let Some(next) = prober.deadline().filter(|next| *next <= at(until_ms)) else {
                return said;
            };
            now = next;
            prober.handle_timeout(now);
        }
    }

    #[test]
    fn after_three_questions_without_an_answer_a_vip_is_free() {
        let mut prober = Prober::default();
        prober.configure(&[vip()].into(), at(0));
        let expected = [
            (0, Ask::Probe(vip())),
            (200, Ask::Probe(vip())),
            (400, Ask::Probe(vip())),
            (700, Ask::Free(vip())),
        ];
        assert_eq!(run(&mut prober, 60_000), expected);
        assert_eq!(prober.deadline(), None);
    }

    #[test]
    fn one_that_is_taken_is_asked_about_again_until_it_is_free() {
        let mut prober = Prober::default();
        prober.configure(&[vip()].into(), at(0));
        run(&mut prober, 0);
        prober.handle_claim(vip(), MAC, at(100));
        assert_eq!(prober.poll_output(), Some(Ask::Taken(vip(), MAC)));
        // The same is said once.
        assert_eq!(run(&mut prober, 10_100), [(10_100, Ask::Probe(vip()))]);
        prober.handle_claim(vip(), MAC, at(10_150));
        assert_eq!(prober.poll_output(), None);
        let said = run(&mut prober, 100_000);
        assert_eq!(said.last(), Some(&(20_850, Ask::Free(vip()))));
    }

    #[test]
    fn what_was_said_before_does_not_count() {
        let mut prober = Prober::default();
        prober.configure(&[vip()].into(), at(1000));
        prober.handle_claim(vip(), MAC, at(999));
        let said = run(&mut prober, 60_000);
        assert!(said.iter().all(|(_, ask)| !matches!(ask, Ask::Taken(..))));
    }

    #[test]
    fn who_does_not_own_it_any_more_does_not_ask() {
        let mut prober = Prober::default();
        prober.configure(&[vip()].into(), at(0));
        prober.configure(&[].into(), at(100));
        assert_eq!(run(&mut prober, 60_000), [(0, Ask::Probe(vip()))]);
    }
}
