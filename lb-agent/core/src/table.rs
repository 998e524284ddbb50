//! The pick table of a frontend: which backend a hash slot goes to now, and
//! which one would have it next.
//!
//! A pure function of the backends that are present and of the frontend's
//! seed, without history, so that a node that has just started agrees with
//! all others. Every (slot, backend) pair has a pseudo-random score; a slot
//! ranks the backends by it (rendezvous hashing). `now` is the highest usable
//! backend that has room, `next` the highest other one, usable or not: after
//! one addition or one drain, `next` is where the flows were before.
//!
//! Plain rendezvous hashing balances only by numbers: at 64 slots a backend
//! some get a third more than their share. So each backend takes a bounded
//! number of slots (the idea of Mirrokni, Thorup, Zadimoghaddam, "Consistent
//! hashing with bounded loads", 2016). Who is turned away is settled by
//! deferred acceptance (Gale, Shapley, "College admissions and the stability
//! of marriage", 1962): slots propose in the order of their rank, a backend
//! keeps those that score highest with it. The outcome does not depend on the
//! order of the proposals, and a change of one backend disturbs few others.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use lb_common::limits::ENDPOINTS_PER_FRONTEND_MAX;

#[cfg(test)]
mod tests;

/// The largest table.
pub const TABLE_SLOTS_MAX: u32 = 65_536;

/// Up to this many usable backends, the tighter of the two bounds holds.
const FEW: usize = 16;

/// A place a flow can be sent to, as far as the table is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    pub address: IpAddr,
    pub port: u16,
    /// Takes new flows. Those that do not still count for `next`.
    pub usable: bool,
}

/// One place in the table, as indices into the list it was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    now: u16,
    next: u16,
}

const NONE: u16 = u16::MAX;

impl Slot {
    /// The backend that takes the new flows of this slot; none: nobody can.
    #[must_use]
    pub fn now(self) -> Option<usize> {
        (self.now != NONE).then_some(usize::from(self.now))
    }

    /// The backend that had them before `now` came, or takes them after it.
    /// While there is no `now`, the one that most likely has the old flows.
    #[must_use]
    pub fn next(self) -> Option<usize> {
        (self.next != NONE).then_some(usize::from(self.next))
    }
}

/// The slots of a frontend; their number is a power of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Slots);

/// Ten thousand services have ten million slots, so each takes two bytes where
/// that will do. Which form it is follows from their number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slots {
    Narrow(Box<[[u8; 2]]>),
    Wide(Box<[Slot]>),
}

/// Tables up to this size are of so few backends that a byte names each.
const NARROW_SLOTS_MAX: u32 = 4096;
const NARROW_NONE: u8 = u8::MAX;

impl Table {
    fn new(slots: impl ExactSizeIterator<Item = Slot>) -> Self {
        let narrow = |index: u16| u8::try_from(index).unwrap_or(NARROW_NONE);
        let few = u32::try_from(slots.len()).is_ok_and(|slots| slots <= NARROW_SLOTS_MAX);
        Self(if few {
            Slots::Narrow(slots.map(|s| [narrow(s.now), narrow(s.next)]).collect())
        } else {
            Slots::Wide(slots.collect())
        })
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Slots::Narrow(slots) => slots.len(),
            Slots::Wide(slots) => slots.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn get(&self, place: usize) -> Option<Slot> {
        match &self.0 {
            Slots::Narrow(slots) => slots.get(place).map(|[now, next]| Slot {
                now: wide(*now),
                next: wide(*next),
            }),
            Slots::Wide(slots) => slots.get(place).copied(),
        }
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.len()).filter_map(|place| self.get(place))
    }
}

fn wide(index: u8) -> u16 {
    if index == NARROW_NONE {
        NONE
    } else {
        index.into()
    }
}

/// How many slots a table for so many present backends has.
///
/// A function of the number alone, so that all nodes agree, in large steps,
/// since crossing one moves every flow's slot: a small service never does.
/// At least 64 slots a backend while that is cheap. With fewer, the bound on
/// the load turns so many slots away that moved ones often do not know their
/// old owner; with 256 slots for 3 backends, one change in a hundred moved
/// more than 2 % of them needlessly.
#[must_use]
pub fn slots_for(present: usize) -> u32 {
    match present {
        0..=16 => 1024,
        17..=64 => 4096,
        65..=256 => 16_384,
        _ => TABLE_SLOTS_MAX,
    }
}

/// The most slots that one of `usable` backends takes: 1.2 times its share,
/// or 1.3 times where there are many.
fn capacity(slots: u32, usable: usize) -> usize {
    let percent = if usable <= FEW { 120 } else { 130 };
    let slots = usize::try_from(slots).unwrap_or(usize::MAX);
    let usable = usable.max(1);
    (slots * percent / (100 * usable)).max(slots.div_ceil(usable))
}

/// Builds the table of a frontend.
///
/// The order of the candidates does not matter, except that the slots name
/// them by their index in it. A candidate must not be there twice. Those
/// beyond [`ENDPOINTS_PER_FRONTEND_MAX`] are not looked at: which ones to leave
/// out is for the caller to say.
#[must_use]
pub fn build(seed: u64, candidates: &[Candidate]) -> Table {
    let candidates = &candidates[..candidates.len().min(ENDPOINTS_PER_FRONTEND_MAX)];
    let slots = slots_for(candidates.len());
    let usable = candidates.iter().filter(|c| c.usable).count();
    let ranks = Ranks::new(seed, candidates);
    let podiums: Vec<Podium> = (0..slots).map(|slot| ranks.podium(slot)).collect();
    let owners = assign(&ranks, &podiums, capacity(slots, usable));
    let slots = podiums.iter().zip(owners).map(|(podium, now)| Slot {
        now,
        next: podium.highest_but(now),
    });
    Table::new(slots)
}

/// Deferred acceptance: who has each slot, when no backend takes more than
/// `capacity` of them. There is room for all slots, so each finds an
/// owner, unless nobody is usable.
fn assign(ranks: &Ranks, podiums: &[Podium], capacity: usize) -> Vec<u16> {
    // What each backend keeps for now, the least wanted on top.
    let mut kept: Vec<BinaryHeap<Reverse<(u64, u32)>>> =
        ranks.rows.iter().map(|_| BinaryHeap::new()).collect();
    for (first, podium) in (0..).zip(podiums) {
        let mut proposal = podium.usable.map(|rank| (first, rank));
        while let Some((slot, Rank { score, index })) = proposal.take() {
            let heap = &mut kept[usize::from(index)];
            heap.push(Reverse((score, slot)));
            if heap.len() > capacity
                && let Some(Reverse((score, rejected))) = heap.pop()
            {
                proposal = ranks.below(rejected, score).map(|rank| (rejected, rank));
            }
        }
    }
    let mut owners: Vec<u16> = podiums.iter().map(|_| NONE).collect();
    for (index, heap) in (0..).zip(&kept) {
        for Reverse((_, slot)) in heap {
            if let Some(owner) = usize::try_from(*slot).ok().and_then(|s| owners.get_mut(s)) {
                *owner = index;
            }
        }
    }
    owners
}

/// How much one backend and one slot want each other.
#[derive(Clone, Copy, Debug)]
struct Rank {
    score: u64,
    index: u16,
}

impl Rank {
    /// Below all others, and nobody.
    const NOBODY: Self = Self {
        score: 0,
        index: NONE,
    };
}

/// The ends of one slot's ranking that matter: the two highest of all, and
/// the highest that is usable.
#[derive(Clone, Copy, Debug)]
struct Podium {
    first: u16,
    second: u16,
    usable: Option<Rank>,
}

impl Podium {
    fn highest_but(&self, now: u16) -> u16 {
        if self.first == now {
            self.second
        } else {
            self.first
        }
    }
}

/// The scores of all pairs, computed when asked for.
#[derive(Debug)]
struct Ranks {
    /// One a candidate, in their order: its hash, and whether it is usable.
    rows: Vec<(u64, bool)>,
}

impl Ranks {
    fn new(seed: u64, candidates: &[Candidate]) -> Self {
        let row = |candidate: &Candidate| {
            let hash = hash(seed, candidate.address, candidate.port);
            (hash, candidate.usable)
        };
        Self {
            rows: candidates.iter().map(row).collect(),
        }
    }

    fn of(&self, slot: u32) -> impl Iterator<Item = (Rank, bool)> {
        (0..).zip(&self.rows).map(move |(index, &(hash, usable))| {
            let score = score(hash, slot);
            (Rank { score, index }, usable)
        })
    }

    fn podium(&self, slot: u32) -> Podium {
        let (mut first, mut second, mut best) = (Rank::NOBODY, Rank::NOBODY, Rank::NOBODY);
        for (rank, usable) in self.of(slot) {
            if rank.score >= first.score {
                (first, second) = (rank, first);
            } else if rank.score >= second.score {
                second = rank;
            }
            if usable && rank.score >= best.score {
                best = rank;
            }
        }
        Podium {
            first: first.index,
            second: second.index,
            usable: (best.index != NONE).then_some(best),
        }
    }

    /// The usable backend that this slot likes best after one of `score`.
    fn below(&self, slot: u32, score: u64) -> Option<Rank> {
        self.of(slot)
            .filter(|(rank, usable)| *usable && rank.score < score)
            .map(|(rank, _)| rank)
            .max_by_key(|rank| rank.score)
    }
}

/// A hash of the place, different in every frontend: without the seed, a
/// client that two services share would meet the same node in both.
pub(crate) fn hash(seed: u64, address: IpAddr, port: u16) -> u64 {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let bits = address.to_bits();
    let halves = [bits >> 64, bits & u128::from(u64::MAX)];
    let words = halves.map(|half| u64::try_from(half).unwrap_or(0));
    let words = [words[0], words[1], u64::from(port)];
    words.iter().fold(mix(seed), |hash, word| mix(hash ^ word))
}

/// Both arguments are mixed without loss, so that two backends never tie in a
/// slot, nor two slots with a backend, unless their hashes are equal.
fn score(hash: u64, slot: u32) -> u64 {
    mix(hash ^ u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The finaliser of MurmurHash3 (Appleby, 2011): one to one, and every bit of
/// the input moves half the bits of the output.
fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
