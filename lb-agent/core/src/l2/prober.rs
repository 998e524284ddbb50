//! Asking the link before a VIP is used for the first time.
//!
//! RFC 5227 §2.1 for IPv4 and RFC 4862 §5.4 for IPv6, faster: three probes
//! 200 ms apart and 300 ms of silence after the last, where the RFC waits five
//! to nine seconds (its §1.3 allows that where the link is known; hosts answer
//! within milliseconds, and a Service that waits for its address is an
//! outage). A VIP that moves from one node to another was used before and is
//! not probed. One that somebody answers for is asked about again every 10 s.
//!
//! However many VIPs there are, [`PROBE_BATCH`] are asked about in a
//! [`PROBE_TICK`], on each link: 6,400 frames a second, as many as VIPs are
//! announced that are new. Those that were asked about before go first, so that
//! the first VIPs of many can be used while others have yet to wait.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::model::Mac;
use crate::time::Timestamp;

/// Questions on each link, in a [`PROBE_TICK`].
pub const PROBE_BATCH: usize = 64;
pub const PROBE_TICK: Duration = Duration::from_millis(10);
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

/// VIPs, the one that is due first before others.
type Due = BTreeSet<(Timestamp, IpAddr)>;

/// Probes the VIPs that this node would be the first to use.
#[derive(Debug, Default)]
pub struct Prober {
    states: BTreeMap<IpAddr, State>,
    /// Of the states, those whose first question is due, another question, and
    /// the end of the silence after the last.
    first: Due,
    more: Due,
    silent: Due,
    /// Nothing is asked before this moment.
    paced: Timestamp,
    out: VecDeque<Ask>,
}

impl Prober {
    /// All that are to be asked about; what was asked about before goes on.
    pub fn configure(&mut self, vips: &BTreeSet<IpAddr>, now: Timestamp) {
        let gone = self.states.keys().filter(|vip| !vips.contains(*vip));
        let gone: Vec<IpAddr> = gone.copied().collect();
        for vip in gone {
            self.forget(vip);
        }
        for vip in vips {
            if !self.states.contains_key(vip) {
                self.set(
                    *vip,
                    State {
                        began: now,
                        sent: 0,
                        next: now,
                        taken: None,
                    },
                );
            }
        }
        self.handle_timeout(now);
    }

    /// Somebody said at that moment to have it.
    pub fn handle_claim(&mut self, vip: IpAddr, mac: Mac, at: Timestamp) {
        let Some(state) = self.states.get(&vip).filter(|state| at >= state.began) else {
            return;
        };
        if state.taken != Some(mac) {
            self.out.push_back(Ask::Taken(vip, mac));
        }
        self.set(
            vip,
            State {
                began: at + AGAIN,
                sent: 0,
                next: at + AGAIN,
                taken: Some(mac),
            },
        );
    }

    /// Harmless when early. Claims that came before `now` are to be told first.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(vip) = take(&mut self.silent, now) {
            self.forget(vip);
            self.out.push_back(Ask::Free(vip));
        }
        if now < self.paced {
            return;
        }
        for _ in 0..PROBE_BATCH {
            let due = take(&mut self.more, now).or_else(|| take(&mut self.first, now));
            let Some(vip) = due else {
                return;
            };
            self.paced = now + PROBE_TICK;
            self.probe(vip, now);
        }
    }

    fn probe(&mut self, vip: IpAddr, now: Timestamp) {
        let Some(state) = self.states.get(&vip).copied() else {
            return;
        };
        self.out.push_back(Ask::Probe(vip));
        let sent = state.sent + 1;
        let pause = if sent < PROBES { BETWEEN } else { AFTER_LAST };
        let began = if state.sent == 0 { now } else { state.began };
        self.set(
            vip,
            State {
                began,
                sent,
                next: now + pause,
                ..state
            },
        );
    }

    fn set(&mut self, vip: IpAddr, state: State) {
        self.forget(vip);
        self.due(state.sent).insert((state.next, vip));
        self.states.insert(vip, state);
    }

    fn forget(&mut self, vip: IpAddr) {
        if let Some(state) = self.states.remove(&vip) {
            self.due(state.sent).remove(&(state.next, vip));
        }
    }

    /// Where a VIP stands that was asked about so often.
    fn due(&mut self, sent: u32) -> &mut Due {
        match sent {
            0 => &mut self.first,
            PROBES => &mut self.silent,
            _ => &mut self.more,
        }
    }

    pub fn poll_output(&mut self) -> Option<Ask> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; none: nothing is asked about.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let next = |due: &Due| due.first().map(|(at, _)| *at);
        let asked = [&self.first, &self.more].into_iter().filter_map(next).min();
        let asked = asked.map(|at| at.max(self.paced));
        asked.into_iter().chain(next(&self.silent)).min()
    }
}

fn take(due: &mut Due, now: Timestamp) -> Option<IpAddr> {
    due.first().filter(|(at, _)| *at <= now)?;
    due.pop_first().map(|(_, vip)| vip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

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

    /// So many, of both families.
    fn many(count: u16) -> BTreeSet<IpAddr> {
        let four = (0..count).map(|n| IpAddr::from(Ipv4Addr::from(0xc000_0200 + u32::from(n))));
        let six = |n| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
        four.step_by(2).chain((0..count / 2).map(six)).collect()
    }

    #[test]
    fn many_are_asked_about_so_many_at_a_time_and_each_as_ever() {
        let vips = many(10_000);
        let mut prober = Prober::default();
        prober.configure(&vips, at(0));
        let said = run(&mut prober, 60_000);
        let mut asked: BTreeMap<IpAddr, Vec<u128>> = BTreeMap::new();
        let mut in_a_tick: BTreeMap<u128, usize> = BTreeMap::new();
        let mut free = BTreeMap::new();
        for (ms, ask) in said {
            match ask {
                Ask::Probe(vip) => {
                    asked.entry(vip).or_default().push(ms);
                    *in_a_tick.entry(ms / PROBE_TICK.as_millis()).or_default() += 1;
                }
                Ask::Free(vip) => assert_eq!(free.insert(vip, ms), None),
                Ask::Taken(..) => panic!("nobody has one"),
            }
        }
        assert!(in_a_tick.values().all(|count| *count <= PROBE_BATCH));
        assert_eq!(free.len(), vips.len());
        for vip in &vips {
            let [first, second, third] = asked[vip][..] else {
                panic!("{:?}", asked[vip]);
            };
            assert!(second - first >= 200 && third - second >= 200);
            assert_eq!(free[vip] - third, AFTER_LAST.as_millis());
        }
        // 30,000 questions at 6,400 a second; the first few do not wait for all.
        assert_eq!(free.values().max(), Some(&5060));
        assert!(free.values().min() < Some(&1000));
    }

    #[test]
    fn whatever_is_configured_and_claimed_every_one_asked_about_has_its_turn() {
        let (all, mut prober) = (many(300), Prober::default());
        let half: BTreeSet<IpAddr> = all.iter().copied().step_by(2).collect();
        prober.configure(&all, at(0));
        run(&mut prober, 20);
        prober.handle_claim(*half.iter().next().unwrap(), MAC, at(30));
        prober.configure(&half, at(40));
        prober.configure(&all, at(50));
        let said = run(&mut prober, 60_000);
        let free = said.iter().filter_map(|(_, ask)| match ask {
            Ask::Free(vip) => Some(*vip),
            _ => None,
        });
        let free: Vec<IpAddr> = free.collect();
        assert_eq!(free.len(), all.len(), "each once");
        assert_eq!(free.into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(prober.deadline(), None);
        assert!(prober.first.is_empty() && prober.more.is_empty() && prober.silent.is_empty());
    }
}
