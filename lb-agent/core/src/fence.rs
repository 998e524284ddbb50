//! Until when this node may answer for its VIPs, and whose VIPs are free: so
//! that no two nodes answer for one, although each decides for itself.
//!
//! Every [`Timing::every`] each agent says to each other that it is there (a
//! [`Renewal`]), and hears back which of these arrived. What follows, with L
//! for [`Timing::lease`] and M for the least majority of the N agents:
//!
//! - A node answers until L after the *send* time of a renewal that a majority
//!   acknowledged, itself counted. The kernel holds that moment, so an agent
//!   that died, hangs or was cut off stops answering without doing anything,
//!   and a machine that was paused answers nothing before it was heard again.
//! - Who has not heard a node for L and a margin says so ([`Renewal::gone`]),
//!   and acknowledges nothing of it as long as it says so and L and a margin
//!   after that. Its VIPs are free once N - M + 1 agents say so. Any majority
//!   has one of them in it, so one of the two has always ended before the
//!   other begins, however long datagrams travel; clocks need only run equally
//!   fast within the margin.
//! - A node that comes back is acknowledged by those who took its VIPs only
//!   after their kernels have let go of them ([`Fence::applied`]).
//!
//! **Without a majority** this cannot be decided from what agents say, so
//! other signs count ([`Signals`]). As soon as acknowledgements are late
//! ([`Doubts`]), gateways are asked ([`Asker`]), so that their answers are there
//! when it matters, and the Lease in the API server is renewed by its holder and
//! looked at by others ([`Witness`]). Of those signs the first that says
//! something decides:
//!
//! | sign | half of the agents are left | less |
//! |---|---|---|
//! | no carrier | stops | stops |
//! | announcements of another owner are heard | yields | yields |
//! | an agent that is not heard renews the Lease | stops | stops |
//! | this one does, or one that it hears | goes on | (says nothing) |
//! | a gateway answers | goes on | goes on |
//! | no gateway answers | stops | stops |
//! | there is no gateway | goes on: a survivor must not fence itself | stops |
//!
//! A gateway that answers says that it is the others who are gone or cut off. So
//! there may be two owners for as long as agents cannot talk to each other, no
//! majority is left, and the Lease says nothing; or the wire itself is cut and
//! both parts have a gateway; each then answers those who are in its own part.
//! Where the wire works and only the agents' datagrams are lost, announcements
//! are heard ([`Fence::opposed`]): who has no majority yields.
//!
//! **Who leaves for good** counts no more, so that what is left is a majority
//! again. A part that does not hear it come back goes on counting without it.
//!
//! **A planned restart** is said beforehand: others take that node to be there
//! until the moment that it gave, and its kernel answers as long
//! ([`Fence::keep`]). Of two nodes, the other one goes on alone meanwhile.
//!
//! Not the fence's: agents that know different objects for a moment (a label,
//! an advertisement) elect different owners for as long.

mod asker;
mod renewal;
mod standing;
#[cfg(test)]
mod tests;
mod witness;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

pub use asker::{Asker, Question, Way};
pub use renewal::{DecodeError, Renewal, Stamp};
pub use standing::{Arbiter, Doubts, Expiry, Gateway, Lapse, Signals, Standing};
pub use witness::{Witness, identity};

use crate::model::NodeName;
use crate::time::Timestamp;

/// How fast all this goes. The same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two renewals.
    pub every: Duration,
    /// For how long one lets the node answer.
    pub lease: Duration,
    /// How much longer others wait: for clocks that do not run equally fast.
    pub margin: Duration,
    /// How long a node answers that has no others: it has nobody to make way
    /// for, and its agent may be away for as long.
    pub sole: Duration,
    /// How often an agent that does not hear all others announces its VIPs, so
    /// that who has no majority hears of it.
    pub refresh: Duration,
}

impl Timing {
    /// A node is free 0.37 s after it was last heard.
    pub const NORMAL: Self = Self {
        every: Duration::from_millis(70),
        lease: Duration::from_millis(320),
        margin: Duration::from_millis(50),
        sole: Duration::from_secs(30),
        refresh: Duration::from_secs(1),
    };

    /// 0.17 s.
    pub const FAST: Self = Self {
        every: Duration::from_millis(30),
        lease: Duration::from_millis(145),
        margin: Duration::from_millis(25),
        sole: Duration::from_secs(30),
        refresh: Duration::from_millis(500),
    };

    /// After this much silence a node is free.
    #[must_use]
    pub fn silence(self) -> Duration {
        self.lease + self.margin
    }
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send(NodeName, Renewal),
}

#[derive(Clone, Debug)]
struct Peer {
    /// When it, or word that it is excused until later, was last heard.
    heard: Timestamp,
    /// Until when it is excused.
    excused: Timestamp,
    /// Its newest renewal.
    newest: Option<Stamp>,
    /// The send time of our newest renewal that it acknowledged.
    acknowledged: Option<Timestamp>,
    /// Whom it takes to be gone, and that it said so after this moment: the
    /// send time of the newest renewal of ours that it had got.
    gone: BTreeSet<NodeName>,
    said: Option<Timestamp>,
    /// We say that it is gone.
    silent: bool,
    /// When we last said so to others.
    told: Option<Timestamp>,
}

/// One node's side of it.
#[derive(Clone, Debug)]
pub struct Fence {
    this: NodeName,
    /// Of this process: no other one ever has the same.
    boot: u64,
    timing: Timing,
    peers: BTreeMap<NodeName, Peer>,
    signals: Signals,
    /// Whose VIPs are free, as of the last call.
    free: BTreeSet<NodeName>,
    /// Whose VIPs the kernel may have been told to answer for, and of whose it
    /// will be told last.
    held: BTreeSet<NodeName>,
    taken: BTreeSet<NodeName>,
    /// The agents are known; what the kernel holds is known.
    open: bool,
    mended: bool,
    /// When it last ran, and since when it ran without a pause.
    ran: Timestamp,
    awake: Timestamp,
    /// Others' announcements were heard, and it yields until then.
    yields_until: Timestamp,
    /// When that was last, and until when they are answered in kind.
    opposed: Option<Timestamp>,
    objects_until: Timestamp,
    /// It restarts as planned, and others take it to be there until then.
    kept: Option<Timestamp>,
    next_send: Timestamp,
    out: VecDeque<Output>,
}

impl Fence {
    /// `boot`: a random number, of this process alone.
    #[must_use]
    pub fn new(this: NodeName, boot: u64, timing: Timing, now: Timestamp) -> Self {
        Self {
            this,
            boot,
            timing,
            peers: BTreeMap::new(),
            signals: Signals::default(),
            free: BTreeSet::new(),
            held: BTreeSet::new(),
            taken: BTreeSet::new(),
            open: false,
            mended: false,
            ran: now,
            awake: now,
            yields_until: Timestamp::default(),
            opposed: None,
            objects_until: Timestamp::default(),
            kept: None,
            next_send: now,
            out: VecDeque::new(),
        }
    }

    /// The agents of the cluster: all that were ever heard and have neither
    /// left nor lost their Node object. One that restarts as planned is excused
    /// until the moment that it gave. Nothing is answered for before the first
    /// call: who has just started does not know who took over meanwhile.
    pub fn peers(&mut self, peers: &BTreeMap<NodeName, Option<Timestamp>>, now: Timestamp) {
        self.run(now);
        if !self.open || peers.keys().any(|node| !self.peers.contains_key(node)) {
            self.next_send = now;
        }
        self.open = true;
        self.peers.retain(|node, _| peers.contains_key(node));
        for (node, excused) in peers.iter().filter(|(node, _)| **node != self.this) {
            let peer = self.peers.entry(node.clone()).or_insert(Peer {
                heard: now,
                excused: Timestamp::default(),
                newest: None,
                acknowledged: None,
                gone: BTreeSet::new(),
                said: None,
                silent: false,
                // By the process before this one, perhaps.
                told: Some(now),
            });
            if let Some(excused) = excused {
                peer.heard = peer.heard.max(*excused);
                peer.excused = *excused;
            }
        }
        self.held.retain(|node| peers.contains_key(node));
        self.taken.retain(|node| peers.contains_key(node));
        self.judge(now);
    }

    pub fn signals(&mut self, signals: Signals, now: Timestamp) {
        self.run(now);
        self.signals = signals;
        self.judge(now);
    }

    /// Another node announced a VIP that this one would own. Who knows a
    /// majority behind it does not mind; others yield as long as they hear
    /// such, and of several that yield to each other the first comes back
    /// before the others.
    ///
    /// Who hears all that it counts does not announce by itself; so it answers
    /// the first of these, that the other hears of it. It does not go on with
    /// that, as the other may do the same.
    pub fn opposed(&mut self, now: Timestamp) {
        self.run(now);
        let lately = self.timing.refresh * 3;
        if self.opposed.is_none_or(|last| now >= last + lately) {
            self.objects_until = now + self.timing.refresh * 2;
        }
        self.opposed = Some(now);
        let before = self.peers.keys().filter(|peer| **peer < self.this).count();
        let turns = u32::try_from(before).unwrap_or(u32::MAX);
        let hold = self.timing.refresh * 3 + self.timing.silence().saturating_mul(turns);
        self.yields_until = self.yields_until.max(now + hold);
        self.judge(now);
    }

    pub fn handle_renewal(&mut self, from: &NodeName, renewal: &Renewal, now: Timestamp) {
        self.run(now);
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        // What was overtaken on the way says nothing new.
        let overtaken = peer.newest.is_some_and(|newest| {
            newest.boot == renewal.stamp.boot && renewal.stamp.sent <= newest.sent
        });
        if !overtaken {
            if peer
                .newest
                .is_some_and(|newest| newest.boot != renewal.stamp.boot)
            {
                // It is back.
                peer.heard = now;
                peer.excused = now;
            }
            peer.newest = Some(renewal.stamp);
            peer.heard = peer.heard.max(now);
            peer.gone.clone_from(&renewal.gone);
            if let Some(echo) = renewal.echo.filter(|echo| echo.boot == self.boot) {
                peer.said = peer.said.max(Some(echo.sent));
                if renewal.acknowledges {
                    peer.acknowledged = peer.acknowledged.max(Some(echo.sent));
                }
            }
        }
        self.judge(now);
    }

    /// Harmless when early.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.run(now);
        self.judge(now);
    }

    /// The kernel answers for the VIPs, and no others, that an election gives
    /// where exactly these nodes were free.
    pub fn applied(&mut self, free: &BTreeSet<NodeName>, now: Timestamp) {
        self.run(now);
        self.held.clone_from(free);
        // An election that began before the last taking says nothing of that.
        self.held.extend(self.taken.iter().cloned());
        self.mended = true;
        self.judge(now);
    }

    /// This agent ends, and will be back by then; so many others know that and
    /// excuse it until then. True: the kernel may answer as long, since whoever
    /// is needed to call this node gone is among those. If not, or if it has VIPs
    /// of others, who may be back before it, it is as if nothing had been said.
    pub fn keep(&mut self, until: Timestamp, told: usize, now: Timestamp) -> bool {
        self.run(now);
        let (_, majority) = self.counts();
        let answers = !matches!(self.expiry(now).standing, Standing::Lapsed(_));
        let kept = answers && told + 1 >= majority && self.held.is_empty();
        self.kept = kept.then(|| until.before(self.timing.margin));
        kept
    }

    /// Whose VIPs others may own.
    #[must_use]
    pub fn free(&self) -> &BTreeSet<NodeName> {
        &self.free
    }

    /// The same, for an election that the kernel is to be told of. Until
    /// [`Self::applied`] is said of a later one, this node counts as having
    /// these nodes' VIPs.
    pub fn take(&mut self) -> BTreeSet<NodeName> {
        self.held.extend(self.free.iter().cloned());
        self.taken.clone_from(&self.free);
        self.free.clone()
    }

    /// How often this node is to announce its VIPs: as long as not all agents
    /// are heard, those that are not may own the same; and for a moment after
    /// one has said so.
    #[must_use]
    pub fn announce_every(&self) -> Option<Duration> {
        let whole = self.peers.values().all(|peer| !peer.silent);
        let objects = self.ran < self.objects_until;
        (!whole || objects).then_some(self.timing.refresh)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        let silent = self.peers.values().filter(|peer| !peer.silent);
        let silent = silent.map(|peer| peer.heard.max(self.awake) + self.timing.silence());
        let next = silent.fold(self.next_send, Timestamp::min);
        if self.ran < self.objects_until {
            next.min(self.objects_until)
        } else {
            next
        }
    }

    /// Notes a pause: what came before it is not to be judged by the clock.
    fn run(&mut self, now: Timestamp) {
        if now.since(self.ran) > self.timing.lease {
            self.awake = now;
        }
        self.ran = now;
    }

    fn judge(&mut self, now: Timestamp) {
        let silence = self.timing.silence();
        let mut news = false;
        for peer in self.peers.values_mut() {
            let silent = now >= peer.heard.max(self.awake) + silence;
            news |= silent != peer.silent;
            peer.silent = silent;
        }
        self.free = self.free_now(now);
        if news || now >= self.next_send {
            self.next_send = now
                + if self.peers.is_empty() {
                    self.timing.sole / 8
                } else {
                    self.timing.every
                };
            self.say(now);
        }
    }

    /// To everybody.
    fn say(&mut self, now: Timestamp) {
        let gone = self.peers.iter().filter_map(|(node, peer)| {
            let gone = peer.silent || self.held.contains(node);
            gone.then(|| node.clone())
        });
        let gone: BTreeSet<NodeName> = gone.collect();
        let silence = self.timing.silence();
        // Of two, the only other one needs no time to hear that it is back.
        let others = self.peers.len() > 1;
        for (node, peer) in &mut self.peers {
            let is_gone = gone.contains(node);
            let lately = peer.told.is_some_and(|told| now < told + silence);
            self.out.push_back(Output::Send(
                node.clone(),
                Renewal {
                    stamp: Stamp {
                        boot: self.boot,
                        sent: now,
                    },
                    echo: peer.newest,
                    acknowledges: self.mended && !is_gone && !(lately && others),
                    gone: gone.clone(),
                },
            ));
            if is_gone && others {
                peer.told = Some(now);
            }
        }
    }
}
