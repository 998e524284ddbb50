use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::{
    Arbiter, DecodeError, Doubts, Fence, Gateway, Lapse, Output, Renewal, Signals, Stamp, Standing,
    Timing,
};
use crate::model::NodeName;
use crate::time::Timestamp;

const TIMING: Timing = Timing::NORMAL;

fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(ms))
}

fn names(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| NodeName::new(name)).collect()
}

/// Agents that hear each other without loss or delay, unless they are cut off.
struct Cluster {
    fences: BTreeMap<NodeName, Fence>,
    cut_off: BTreeSet<NodeName>,
    now_ms: u64,
}

impl Cluster {
    fn new(nodes: &[&str]) -> Self {
        let all = names(nodes);
        let peers: BTreeMap<_, _> = all.iter().map(|node| (node.clone(), None)).collect();
        let fences = all.iter().zip(1..).map(|(node, boot)| {
            let mut fence = Fence::new(node.clone(), boot, TIMING, at(1000));
            fence.applied(&BTreeSet::new(), at(1000));
            fence.peers(&peers, at(1000));
            (node.clone(), fence)
        });
        let mut cluster = Self {
            fences: fences.collect(),
            cut_off: BTreeSet::new(),
            now_ms: 1000,
        };
        cluster.run_ms(1000);
        cluster
    }

    fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            let now = at(self.now_ms);
            let mut sent = Vec::new();
            for (from, fence) in &mut self.fences {
                fence.handle_timeout(now);
                let free = fence.take();
                fence.applied(&free, now);
                while let Some(Output::Send(to, renewal)) = fence.poll_output() {
                    if !self.cut_off.contains(from) && !self.cut_off.contains(&to) {
                        sent.push((from.clone(), to, renewal));
                    }
                }
            }
            for (from, to, renewal) in sent {
                let fence = self.fences.get_mut(&to).unwrap();
                fence.handle_renewal(&from, &renewal, now);
            }
        }
    }

    fn standing(&self, node: &str) -> Standing {
        let fence = &self.fences[&NodeName::new(node)];
        fence.expiry(at(self.now_ms)).standing
    }

    fn free(&self, node: &str) -> BTreeSet<NodeName> {
        self.fences[&NodeName::new(node)].free().clone()
    }

    fn cut(&mut self, nodes: &[&str]) {
        self.cut_off = names(nodes);
    }

    fn signals(&mut self, node: &str, signals: Signals) {
        let now = at(self.now_ms);
        let fence = self.fences.get_mut(&NodeName::new(node)).unwrap();
        fence.signals(signals, now);
    }
}

#[test]
fn a_majority_answers_and_its_expiry_is_the_send_time_and_the_lease() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let expiry = cluster.fences[&NodeName::new("a")].expiry(at(cluster.now_ms));
    assert_eq!(expiry.standing, Standing::Majority);
    let until = expiry.until.unwrap();
    let left = until.since(at(cluster.now_ms));
    assert!(left <= TIMING.lease, "{left:?}");
    assert!(left >= TIMING.lease - TIMING.every * 2, "{left:?}");
}

#[test]
fn who_is_silent_is_free_after_the_lease_and_the_margin_and_has_lapsed_before() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.cut(&["a"]);
    let cut_ms = cluster.now_ms;
    let (mut lapsed_ms, mut free_ms) = (None, None);
    for _ in 0..1000 {
        cluster.run_ms(1);
        let ms = cluster.now_ms - cut_ms;
        let a = cluster.fences[&NodeName::new("a")].expiry(at(cluster.now_ms));
        if a.until.is_none_or(|until| until <= at(cluster.now_ms)) {
            lapsed_ms.get_or_insert(ms);
        }
        if cluster.free("b") == names(&["a"]) {
            free_ms.get_or_insert(ms);
        }
    }
    let (lapsed, free) = (lapsed_ms.unwrap(), free_ms.unwrap());
    assert!(lapsed <= 320, "lapsed after {lapsed} ms");
    assert!((300..=375).contains(&free), "free after {free} ms");
    assert!(lapsed < free, "{lapsed} before {free}");
    assert_eq!(cluster.standing("a"), Standing::Lapsed(Lapse::Minority));
    assert_eq!(
        cluster.free("a"),
        names(&[]),
        "one cannot say that two are gone"
    );
    // It comes back, and those who took over let go first.
    cluster.cut(&[]);
    cluster.run_ms(TIMING.every.as_millis().try_into().unwrap());
    assert_eq!(cluster.free("b"), names(&[]));
    assert_eq!(
        cluster.standing("a"),
        Standing::Lapsed(Lapse::NotAcknowledged)
    );
    cluster.run_ms(600);
    assert_eq!(cluster.standing("a"), Standing::Majority);
}

#[test]
fn of_two_the_survivor_goes_on_and_takes_over() {
    let mut cluster = Cluster::new(&["a", "b"]);
    assert_eq!(cluster.standing("a"), Standing::Majority);
    cluster.cut(&["b"]);
    cluster.run_ms(450);
    assert_eq!(cluster.standing("a"), Standing::Alone);
    assert_eq!(cluster.free("a"), names(&["b"]));
    cluster.cut(&[]);
    cluster.run_ms(200);
    assert_eq!(cluster.standing("a"), Standing::Majority);
    assert_eq!(cluster.standing("b"), Standing::Majority);
    assert_eq!(cluster.free("a"), names(&[]));
}

/// Of a cluster of two or three, what `a` may do when it hears nobody.
fn check_signals(nodes: &[&str], signals: Signals, expected: Standing) {
    let mut cluster = Cluster::new(nodes);
    cluster.signals("a", signals);
    cluster.cut(&["a"]);
    cluster.run_ms(500);
    assert_eq!(cluster.standing("a"), expected, "{signals:?}");
}

#[test]
fn without_a_majority_other_signs_decide() {
    let plain = Signals::default();
    let (two, three) = (&["a", "b"][..], &["a", "b", "c"][..]);
    let lapsed = Standing::Lapsed;
    let unplugged = Signals {
        carrier: false,
        ..plain
    };
    check_signals(two, unplugged, lapsed(Lapse::NoCarrier));
    let gateway = |gateway| Signals { gateway, ..plain };
    let answers = Gateway::Answers { asked: at(2400) };
    let stale = Gateway::Answers { asked: at(2100) };
    check_signals(two, gateway(answers), Standing::Alone);
    check_signals(two, gateway(stale), lapsed(Lapse::GatewaySilent));
    check_signals(two, gateway(Gateway::Silent), lapsed(Lapse::GatewaySilent));
    check_signals(two, plain, Standing::Alone);
    check_signals(three, gateway(answers), Standing::Alone);
    check_signals(
        three,
        gateway(Gateway::Silent),
        lapsed(Lapse::GatewaySilent),
    );
    check_signals(three, plain, lapsed(Lapse::Minority));
    let arbiter = |arbiter| Signals {
        arbiter,
        gateway: answers,
        carrier: true,
    };
    let ours = Arbiter::Ours { until: at(60_000) };
    check_signals(two, arbiter(ours), Standing::Arbitrated);
    let theirs = |ms| Arbiter::Theirs { until: at(ms) };
    let elsewhere = lapsed(Lapse::LeaseElsewhere);
    check_signals(two, arbiter(theirs(60_000)), elsewhere);
    check_signals(three, arbiter(ours), Standing::Alone);
    check_signals(three, arbiter(theirs(60_000)), elsewhere);
    check_signals(two, arbiter(theirs(2400)), Standing::Alone);
    let lately = Arbiter::Ours { until: at(2400) };
    check_signals(two, arbiter(lately), Standing::Alone);
}

#[test]
fn what_a_gateway_proves_lasts_as_long_as_what_an_agent_does() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let asked = at(2400);
    let gateway = Gateway::Answers { asked };
    let signals = Signals {
        gateway,
        ..Signals::default()
    };
    cluster.signals("a", signals);
    cluster.cut(&["b"]);
    cluster.run_ms(500);
    assert_eq!(answers_until(&cluster, "a"), asked + TIMING.lease);
}

#[test]
fn others_are_asked_in_time_and_only_in_doubt() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let doubts = |cluster: &Cluster| {
        let fence = &cluster.fences[&NodeName::new("a")];
        fence.doubts(at(cluster.now_ms))
    };
    cluster.run_ms(1000);
    assert_eq!(doubts(&cluster), Doubts::default());
    cluster.cut(&["c"]);
    cluster.run_ms(1000);
    let one_is_gone = Doubts {
        unheard: names(&["c"]),
        decides: false,
    };
    assert_eq!(doubts(&cluster), one_is_gone);
    cluster.cut(&["b", "c"]);
    let mut asked_ms = 0;
    while !doubts(&cluster).decides {
        cluster.run_ms(1);
        asked_ms += 1;
    }
    assert!(
        asked_ms < 250,
        "{asked_ms} ms: answers are to be there by 370"
    );
    cluster.run_ms(300 - asked_ms);
    let answers = Gateway::Answers {
        asked: at(cluster.now_ms),
    };
    let signals = Signals {
        gateway: answers,
        ..Signals::default()
    };
    cluster.signals("a", signals);
    cluster.run_ms(80);
    assert_eq!(cluster.standing("a"), Standing::Alone);
}

#[test]
fn who_starts_answers_nothing_before_it_knows_who_is_there() {
    let mut fence = Fence::new(NodeName::new("a"), 1, TIMING, at(1000));
    let standing = |fence: &Fence, ms| fence.expiry(at(ms)).standing;
    assert_eq!(standing(&fence, 9000), Standing::Lapsed(Lapse::Starting));
    fence.peers(&BTreeMap::new(), at(9000));
    let starting = Standing::Lapsed(Lapse::Starting);
    assert_eq!(standing(&fence, 9000), starting, "nor what its kernel has");
    fence.applied(&BTreeSet::new(), at(9100));
    assert_eq!(standing(&fence, 9100), Standing::Sole);
}

#[test]
fn an_election_that_is_overtaken_does_not_hide_what_the_next_one_takes() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.cut(&["c"]);
    cluster.run_ms(1000);
    let now = at(cluster.now_ms);
    let a = cluster.fences.get_mut(&NodeName::new("a")).unwrap();
    assert_eq!(a.take(), names(&["c"]));
    // The kernel gets what was elected before that, and then c is heard again.
    a.applied(&names(&[]), now);
    cluster.cut(&[]);
    let acknowledges = |cluster: &mut Cluster, ms| {
        let now = at(ms);
        let a = cluster.fences.get_mut(&NodeName::new("a")).unwrap();
        a.handle_timeout(now);
        let said = core::iter::from_fn(|| a.poll_output());
        let to_c = said.filter(|Output::Send(to, _)| to.as_str() == "c").last();
        let Some(Output::Send(_, renewal)) = to_c else {
            panic!("it is told something");
        };
        assert!(renewal.gone.contains(&NodeName::new("c")));
        renewal.acknowledges
    };
    let ms = cluster.now_ms + 100;
    assert!(!acknowledges(&mut cluster, ms), "its VIPs may be a's");
}

#[test]
fn after_a_pause_nothing_is_answered_before_others_were_heard() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let a = cluster.fences.get_mut(&NodeName::new("a")).unwrap();
    let later = cluster.now_ms + 10_000;
    a.handle_timeout(at(later));
    let standing = a.expiry(at(later)).standing;
    assert_eq!(standing, Standing::Lapsed(Lapse::NotAcknowledged));
    assert_eq!(*a.free(), names(&[]));
    a.handle_timeout(at(later + 100));
    a.handle_timeout(at(later + 400));
    let standing = a.expiry(at(later + 400)).standing;
    assert_eq!(standing, Standing::Alone, "it has listened");
}

#[test]
fn who_restarts_as_planned_is_not_free_before_its_time() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let excused = at(cluster.now_ms + 5000);
    let peers = [("a", Some(excused)), ("b", None), ("c", None)];
    let peers = peers.map(|(node, excused)| (NodeName::new(node), excused));
    for node in ["b", "c"] {
        let fence = cluster.fences.get_mut(&NodeName::new(node)).unwrap();
        fence.peers(&peers.clone().into(), at(cluster.now_ms));
    }
    cluster.cut(&["a"]);
    cluster.run_ms(5300);
    assert_eq!(cluster.free("b"), names(&[]));
    cluster.run_ms(200);
    assert_eq!(cluster.free("b"), names(&["a"]));
}

/// `node` restarts as planned, and those who hear that excuse it.
fn restarts(cluster: &mut Cluster, node: &str, told: &[&str], seconds: u64) -> bool {
    let now = at(cluster.now_ms);
    let back = now + Duration::from_secs(seconds);
    let all: Vec<NodeName> = cluster.fences.keys().cloned().collect();
    let peers = all.into_iter().map(|other| {
        let excused = (other.as_str() == node).then_some(back);
        (other, excused)
    });
    let peers: BTreeMap<_, _> = peers.collect();
    for other in told {
        let fence = cluster.fences.get_mut(&NodeName::new(other)).unwrap();
        fence.peers(&peers, now);
    }
    let fence = cluster.fences.get_mut(&NodeName::new(node)).unwrap();
    fence.keep(back, told.len(), now)
}

fn answers_until(cluster: &Cluster, node: &str) -> Timestamp {
    let fence = &cluster.fences[&NodeName::new(node)];
    fence.expiry(at(cluster.now_ms)).until.unwrap_or_default()
}

#[test]
fn the_kernel_of_who_restarts_answers_until_shortly_before_others_may() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let back = at(cluster.now_ms + 5000);
    assert!(restarts(&mut cluster, "a", &["b", "c"], 5));
    assert_eq!(answers_until(&cluster, "a"), back.before(TIMING.margin));
    cluster.cut(&["a"]);
    while cluster.free("b").is_empty() {
        cluster.run_ms(1);
    }
    assert!(at(cluster.now_ms) >= back, "{} ms", cluster.now_ms);
}

#[test]
fn who_restarts_without_a_majority_knowing_is_as_one_that_was_killed() {
    let mut cluster = Cluster::new(&["a", "b", "c", "d"]);
    assert!(!restarts(&mut cluster, "a", &["b"], 5));
    let left = answers_until(&cluster, "a").since(at(cluster.now_ms));
    assert!(left <= TIMING.lease, "{left:?}");
}

#[test]
fn of_two_the_other_one_goes_on_while_one_restarts() {
    let mut cluster = Cluster::new(&["a", "b"]);
    assert!(restarts(&mut cluster, "a", &["b"], 5));
    cluster.cut(&["a"]);
    for _ in 0..60 {
        cluster.run_ms(100);
        let answers = answers_until(&cluster, "b") > at(cluster.now_ms);
        assert!(
            answers,
            "at {} ms: {:?}",
            cluster.now_ms,
            cluster.standing("b")
        );
    }
    assert_eq!(cluster.free("b"), names(&["a"]), "it is late");
}

#[test]
fn who_has_no_majority_yields_to_announcements() {
    let mut cluster = Cluster::new(&["a", "b"]);
    let oppose = |cluster: &mut Cluster| {
        let now = at(cluster.now_ms);
        let a = cluster.fences.get_mut(&NodeName::new("a")).unwrap();
        a.opposed(now);
    };
    oppose(&mut cluster);
    assert_eq!(cluster.standing("a"), Standing::Majority);
    cluster.cut(&["b"]);
    cluster.run_ms(4000);
    assert_eq!(cluster.standing("a"), Standing::Alone);
    oppose(&mut cluster);
    assert_eq!(cluster.standing("a"), Standing::Lapsed(Lapse::Opposed));
    cluster.run_ms(3500);
    assert_eq!(cluster.standing("a"), Standing::Alone);
}

/// `a` counts `b`, who left, no more, and `b` is back where `a` does not hear it.
#[test]
fn who_hears_all_that_it_counts_objects_to_another_owner_once_in_a_while() {
    let mut fence = Fence::new(NodeName::new("a"), 1, TIMING, at(1000));
    fence.applied(&BTreeSet::new(), at(1000));
    fence.peers(&BTreeMap::new(), at(1000));
    assert_eq!(fence.announce_every(), None);
    let mut objects = Vec::new();
    // The other one announces each second, for 5 s, and again after a pause.
    let opposed = |ms: u64| ms.is_multiple_of(1000) && (2000..=7000).contains(&ms) || ms == 12_000;
    for ms in 1001..20_000 {
        if opposed(ms) {
            fence.opposed(at(ms));
        } else if fence.deadline() <= at(ms) {
            fence.handle_timeout(at(ms));
        }
        if fence.announce_every() == Some(TIMING.refresh) {
            objects.push(ms);
        }
        assert_eq!(fence.expiry(at(ms)).standing, Standing::Sole);
    }
    let (first, again) = (2000..4000, 12_000..14_000);
    assert!(objects.into_iter().eq(first.chain(again)));
}

#[test]
fn acknowledgements_of_an_earlier_process_do_not_count() {
    let mut fence = Fence::new(NodeName::new("a"), 2, TIMING, at(1000));
    fence.applied(&BTreeSet::new(), at(1000));
    let peers = [(NodeName::new("b"), None)];
    fence.peers(&peers.into(), at(1000));
    let renewal = |boot, sent| Renewal {
        stamp: Stamp {
            boot: 7,
            sent: at(sent),
        },
        echo: Some(Stamp {
            boot,
            sent: at(1000),
        }),
        acknowledges: true,
        gone: BTreeSet::new(),
    };
    fence.handle_renewal(&NodeName::new("b"), &renewal(1, 500), at(1010));
    assert_ne!(fence.expiry(at(1010)).standing, Standing::Majority);
    fence.handle_renewal(&NodeName::new("b"), &renewal(2, 501), at(1020));
    assert_eq!(fence.expiry(at(1020)).standing, Standing::Majority);
    assert_eq!(fence.expiry(at(1020)).until, Some(at(1320)));
}

fn stamp() -> impl Strategy<Value = Stamp> {
    let moment = any::<u64>().prop_map(|ns| Timestamp::since_boot(Duration::from_nanos(ns)));
    (any::<u64>(), moment).prop_map(|(boot, sent)| Stamp { boot, sent })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        stamp in stamp(),
        echo in prop::option::of(stamp()),
        acknowledges: bool,
        gone in prop::collection::btree_set("[a-z0-9.-]{1,63}", 0..16),
    ) {
        let gone = gone.iter().map(|name| NodeName::new(name)).collect();
        let renewal = Renewal { stamp, echo, acknowledges, gone };
        let bytes = renewal.encode();
        prop_assert!(bytes.len() <= 1200);
        prop_assert_eq!(Renewal::decode(&bytes), Ok(renewal));
        for length in 0..bytes.len() {
            prop_assert_eq!(Renewal::decode(&bytes[..length]), Err(DecodeError::Short));
        }
    }

    #[test]
    fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any = Renewal::decode(&bytes);
    }
}
