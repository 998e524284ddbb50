//! When to announce what, and by which link.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::wire;
use crate::model::Mac;
use crate::time::Timestamp;

/// Announcements of VIPs, one link each, in a [`TICK`].
pub const BATCH: usize = 64;
pub const TICK: Duration = Duration::from_millis(10);
const EVERY: Duration = Duration::from_millis(1100);
const TIMES: u32 = 5;

/// What is to be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The VIPs that this node owns, and the links of each, by number.
    pub vips: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// The MACs of the links that there are.
    pub links: BTreeMap<u32, Mac>,
    /// How often all of it is announced again; none: not.
    pub refresh: Option<Duration>,
}

impl Wanted {
    fn places(&self) -> impl Iterator<Item = (Place, Mac)> + '_ {
        self.vips.iter().flat_map(|(vip, links)| {
            let there = links.iter().filter_map(|link| {
                let mac = self.links.get(link)?;
                Some((*link, *mac))
            });
            there.map(|(link, mac)| ((link, *vip), mac))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A frame, to be sent by this link.
    Send { link: u32, frame: Vec<u8> },
}

/// A VIP on a link.
type Place = (u32, IpAddr);

#[derive(Clone, Copy, Debug)]
struct Plan {
    mac: Mac,
    left: u32,
    next: Timestamp,
}

/// Announces the VIPs of one node.
#[derive(Debug, Default)]
pub struct Announcer {
    refresh: Option<Duration>,
    plans: BTreeMap<Place, Plan>,
    /// The plans by when they are due; done ones are not there.
    due: BTreeSet<(Timestamp, Place)>,
    /// Not before this moment.
    paced: Timestamp,
    out: VecDeque<Output>,
}

impl Announcer {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All that is to be announced from now on. What is new, or has another
    /// MAC, begins at once.
    pub fn configure(&mut self, wanted: &Wanted, now: Timestamp) {
        let places: BTreeMap<Place, Mac> = wanted.places().collect();
        let due = &mut self.due;
        self.plans.retain(|place, plan| {
            let stays = places.get(place) == Some(&plan.mac);
            if !stays {
                due.remove(&(plan.next, *place));
            }
            stays
        });
        for (place, mac) in places {
            self.plans.entry(place).or_insert_with(|| {
                due.insert((now, place));
                Plan {
                    mac,
                    left: TIMES,
                    next: now,
                }
            });
        }
        if self.refresh != wanted.refresh {
            self.refresh = wanted.refresh;
            self.reschedule(now);
        }
        self.handle_timeout(now);
    }

    /// For those that were announced often enough.
    fn reschedule(&mut self, now: Timestamp) {
        for (place, plan) in &mut self.plans {
            if plan.left > 0 {
                continue;
            }
            self.due.remove(&(plan.next, *place));
            if let Some(refresh) = self.refresh {
                plan.next = now + refresh;
                self.due.insert((plan.next, *place));
            }
        }
    }

    /// Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if now < self.paced {
            return;
        }
        for _ in 0..BATCH {
            let Some((next, place)) = self.due.first().copied().filter(|(next, _)| *next <= now)
            else {
                return;
            };
            self.paced = now + TICK;
            self.due.remove(&(next, place));
            self.announce(place, now);
        }
    }

    fn announce(&mut self, place: Place, now: Timestamp) {
        let (link, vip) = place;
        let Some(plan) = self.plans.get_mut(&place) else {
            return;
        };
        let frames = wire::announcements(vip, plan.mac);
        let sends = frames.into_iter().map(|frame| Output::Send { link, frame });
        self.out.extend(sends);
        plan.left = plan.left.saturating_sub(1);
        let again = if plan.left > 0 {
            Some(EVERY)
        } else {
            self.refresh
        };
        if let Some(again) = again {
            plan.next = now + again;
            self.due.insert((plan.next, place));
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`]; none: there is nothing to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let (next, _) = self.due.first()?;
        Some((*next).max(self.paced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use std::net::Ipv4Addr;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn at(ms: u64) -> Timestamp {
        Timestamp::since_boot(Duration::from_millis(ms))
    }

    fn wanted(vips: &[&str], links: &[u32]) -> Wanted {
        let vips = vips.iter().map(|vip| vip.parse().unwrap());
        Wanted {
            vips: vips
                .map(|vip| (vip, links.iter().copied().collect()))
                .collect(),
            links: links.iter().map(|link| (*link, MAC)).collect(),
            refresh: None,
        }
    }

    /// When which link was told something, until nothing is left or the time
    /// is over.
    fn run(announcer: &mut Announcer, until_ms: u64) -> Vec<(u64, u32)> {
        let mut told = Vec::new();
        loop {
            let Some(next) = announcer.deadline().filter(|next| *next <= at(until_ms)) else {
                return told;
            };
            announcer.handle_timeout(next);
            let ms = next.since(at(0)).as_millis().try_into().unwrap();
            while let Some(Output::Send { link, .. }) = announcer.poll_output() {
                told.push((ms, link));
            }
        }
    }

    fn drain(announcer: &mut Announcer) -> usize {
        core::iter::from_fn(|| announcer.poll_output()).count()
    }

    #[test]
    fn a_vip_is_announced_at_once_and_four_times_more() {
        let mut announcer = Announcer::new();
        announcer.configure(&wanted(&["2001:db8::1"], &[3]), at(1000));
        assert_eq!(drain(&mut announcer), 1, "at once");
        let told = run(&mut announcer, 60_000);
        assert_eq!(told, [(2100, 3), (3200, 3), (4300, 3), (5400, 3)]);
        assert_eq!(announcer.deadline(), None);
    }

    #[test]
    fn both_forms_of_arp_go_out_by_every_link_of_the_vip() {
        let mut announcer = Announcer::new();
        let mut two = wanted(&["192.0.2.1", "192.0.2.2"], &[3, 4]);
        let second: IpAddr = "192.0.2.2".parse().unwrap();
        two.vips.insert(second, [4].into());
        announcer.configure(&two, at(0));
        let links: Vec<u32> = core::iter::from_fn(|| announcer.poll_output())
            .map(|Output::Send { link, .. }| link)
            .collect();
        assert_eq!(links, [3, 3, 4, 4, 4, 4]);
    }

    #[test]
    fn a_link_that_appears_is_told_and_what_is_lost_is_told_no_more() {
        let mut announcer = Announcer::new();
        announcer.configure(&wanted(&["2001:db8::1"], &[3]), at(0));
        drain(&mut announcer);
        announcer.configure(&wanted(&["2001:db8::1"], &[3, 4]), at(500));
        let Some(Output::Send { link: 4, .. }) = announcer.poll_output() else {
            panic!("the new link is told");
        };
        assert_eq!(drain(&mut announcer), 0, "and the other one is not");
        announcer.configure(&wanted(&[], &[3, 4]), at(600));
        assert_eq!(announcer.deadline(), None);
    }

    #[test]
    fn another_mac_is_announced_anew() {
        let mut announcer = Announcer::new();
        let mut wanted = wanted(&["2001:db8::1"], &[3]);
        announcer.configure(&wanted, at(0));
        run(&mut announcer, 60_000);
        wanted.links.insert(3, [2, 0, 0, 0, 0, 10]);
        announcer.configure(&wanted, at(70_000));
        assert_eq!(drain(&mut announcer), 1);
    }

    #[test]
    fn with_a_refresh_it_goes_on() {
        let mut announcer = Announcer::new();
        let mut wanted = wanted(&["2001:db8::1"], &[3]);
        announcer.configure(&wanted, at(0));
        run(&mut announcer, 10_000);
        wanted.refresh = Some(Duration::from_secs(1));
        announcer.configure(&wanted, at(10_000));
        let told = run(&mut announcer, 12_500);
        assert_eq!(told, [(11_000, 3), (12_000, 3)]);
        wanted.refresh = None;
        announcer.configure(&wanted, at(12_600));
        assert_eq!(run(&mut announcer, 60_000), []);
    }

    #[test]
    fn five_hundred_vips_are_announced_within_a_tenth_of_a_second_and_never_in_a_burst() {
        let mut announcer = Announcer::new();
        let vips = (0..500_u32).map(|n| IpAddr::from(Ipv4Addr::from(0xc633_6400 + n)));
        let many = Wanted {
            vips: vips.map(|vip| (vip, [3].into())).collect(),
            links: [(3, MAC)].into(),
            refresh: None,
        };
        announcer.configure(&many, at(0));
        let mut frames = vec![(0, drain(&mut announcer))];
        while let Some(next) = announcer.deadline().filter(|next| *next < at(1000)) {
            announcer.handle_timeout(next);
            frames.push((next.since(at(0)).as_millis(), drain(&mut announcer)));
        }
        assert!(frames.iter().all(|(_, frames)| *frames <= 2 * BATCH));
        assert_eq!(frames.iter().map(|(_, frames)| frames).sum::<usize>(), 1000);
        assert_eq!(frames.last().unwrap().0, 70);
    }
}
