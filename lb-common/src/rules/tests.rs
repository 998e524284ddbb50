//! The rules as sentences, then as properties over everything that can be
//! said about a packet.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::table::Target;

/// What the tables say, for one packet; and what was asked.
#[derive(Clone, Debug, Default)]
struct Known {
    established: Option<BackendRef>,
    embryonic: Option<BackendRef>,
    moved: Option<u16>,
    handed_over: bool,
    untold: Vec<u16>,
    asked: Vec<&'static str>,
}

impl Knowledge for Known {
    fn established(&mut self) -> Option<BackendRef> {
        self.asked.push("established");
        self.established
    }
    fn embryonic(&mut self) -> Option<BackendRef> {
        self.asked.push("embryonic");
        self.embryonic
    }
    fn moved(&mut self) -> Option<u16> {
        self.asked.push("moved");
        self.moved
    }
    fn handed_over(&mut self) -> bool {
        self.handed_over
    }
    fn told(&mut self, node: u16) -> bool {
        !self.untold.contains(&node)
    }
    fn all_told(&mut self) -> bool {
        self.untold.is_empty()
    }
}

const OURS: BackendRef = BackendRef {
    id: 9,
    generation: 2,
};
const HERE: Target = Target::local(5);
const ALSO_HERE: Target = Target::local(6);
const THERE: Target = Target::node(1);
const ELSEWHERE: Target = Target::node(2);

const fn slot(now: Target, next: Target) -> Slot {
    Slot { now, next }
}

const fn to(node: u16) -> Decision {
    Decision::HandOver {
        node,
        marked: false,
    }
}

const fn on_to(node: u16) -> Decision {
    Decision::HandOver { node, marked: true }
}

#[test]
fn the_ingress_node_hands_over_without_looking_anything_up() {
    for segment in [Segment::Syn, Segment::Tcp, Segment::Udp] {
        let mut known = Known {
            established: Some(OURS),
            ..Known::default()
        };
        assert_eq!(
            decide(segment, false, slot(THERE, ELSEWHERE), &mut known),
            to(1)
        );
        assert!(
            known.asked.is_empty(),
            "{segment:?} asked {:?}",
            known.asked
        );
    }
}

#[test]
fn an_established_flow_keeps_its_pod_whatever_the_slot_says() {
    for segment in [Segment::Syn, Segment::Tcp, Segment::Udp] {
        for marked in [false, true] {
            for slot in [
                slot(HERE, THERE),
                slot(THERE, HERE),
                slot(Target::NONE, HERE),
            ] {
                let mut known = Known {
                    established: Some(OURS),
                    handed_over: true,
                    ..Known::default()
                };
                assert_eq!(
                    decide(segment, marked, slot, &mut known),
                    Decision::Deliver(Found::Established(OURS)),
                );
            }
        }
    }
}

#[test]
fn a_new_flow_goes_to_now() {
    for segment in [Segment::Syn, Segment::Udp] {
        assert_eq!(
            decide(segment, false, slot(HERE, THERE), &mut Known::default()),
            Decision::Deliver(Found::New(5)),
        );
    }
}

#[test]
fn an_unknown_flow_goes_to_next_once_while_next_has_not_told() {
    let mut known = Known {
        untold: [1].into(),
        ..Known::default()
    };
    assert_eq!(
        decide(Segment::Tcp, false, slot(HERE, THERE), &mut known),
        on_to(1)
    );
    assert_eq!(
        decide(Segment::Tcp, false, slot(HERE, ELSEWHERE), &mut known),
        Decision::Unsettled,
        "another node may still have it",
    );
    known.untold.clear();
    assert_eq!(
        decide(Segment::Tcp, false, slot(HERE, THERE), &mut known),
        Decision::Deliver(Found::Pick(5)),
    );
}

#[test]
fn a_moved_flow_is_handed_on_to_its_owner() {
    for segment in [Segment::Tcp, Segment::Udp] {
        let mut known = Known {
            moved: Some(7),
            ..Known::default()
        };
        assert_eq!(
            decide(segment, false, slot(HERE, THERE), &mut known),
            on_to(7)
        );
    }
}

#[test]
fn a_marked_packet_of_a_flow_that_moved_is_never_given_to_the_pick() {
    for now in [HERE, THERE, Target::NONE] {
        let mut known = Known {
            moved: Some(7),
            handed_over: true,
            ..Known::default()
        };
        assert_eq!(
            decide(Segment::Tcp, true, slot(now, THERE), &mut known),
            Decision::Stranded,
        );
    }
}

#[test]
fn a_handed_over_packet_with_nothing_here_is_handed_on_marked_never_plain() {
    for segment in [Segment::Syn, Segment::Tcp, Segment::Udp] {
        let mut known = Known {
            handed_over: true,
            ..Known::default()
        };
        assert_eq!(
            decide(segment, false, slot(THERE, ELSEWHERE), &mut known),
            on_to(1)
        );
    }
}

#[test]
fn two_nodes_that_disagree_about_a_new_flow_settle_on_a_pod() {
    assert_eq!(
        decide(Segment::Syn, true, slot(THERE, HERE), &mut Known::default()),
        Decision::Deliver(Found::New(5)),
    );
    assert_eq!(
        decide(
            Segment::Syn,
            true,
            slot(THERE, ELSEWHERE),
            &mut Known::default()
        ),
        Decision::Stranded,
    );
}

#[test]
fn with_no_endpoint_ready_new_flows_are_rejected_and_old_ones_found() {
    let nobody_new = slot(Target::NONE, THERE);
    let mut known = Known::default();
    assert_eq!(
        decide(Segment::Syn, false, nobody_new, &mut known),
        Decision::Reject
    );
    assert_eq!(decide(Segment::Tcp, false, nobody_new, &mut known), to(1));
    let mut owner = Known {
        handed_over: true,
        established: Some(OURS),
        ..Known::default()
    };
    assert_eq!(
        decide(Segment::Tcp, false, slot(Target::NONE, HERE), &mut owner),
        Decision::Deliver(Found::Established(OURS)),
    );
    owner.established = None;
    for segment in [Segment::Syn, Segment::Tcp, Segment::Udp] {
        assert_eq!(
            decide(segment, false, slot(Target::NONE, HERE), &mut owner),
            Decision::Reject,
        );
    }
    assert_eq!(
        decide(Segment::Syn, false, Slot::default(), &mut Known::default()),
        Decision::Reject,
        "no endpoint at all",
    );
}

#[test]
fn udp_asks_the_node_that_had_the_slot_first_after_a_change() {
    let mut known = Known {
        untold: [2].into(),
        ..Known::default()
    };
    let changed = slot(THERE, ELSEWHERE);
    assert_eq!(decide(Segment::Udp, false, changed, &mut known), to(2));
    let picked_here = slot(HERE, ELSEWHERE);
    assert_eq!(
        decide(Segment::Udp, false, picked_here, &mut known),
        to(2),
        "also where the new pick is here",
    );
    assert_eq!(
        decide(Segment::Udp, true, picked_here, &mut known),
        Decision::Deliver(Found::New(5)),
        "it came back",
    );
    // That node does not know it and passes it on to the new one.
    known.handed_over = true;
    assert_eq!(decide(Segment::Udp, false, changed, &mut known), on_to(1));
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::NONE),
        Just(HERE),
        Just(ALSO_HERE),
        Just(THERE),
        Just(ELSEWHERE)
    ]
}

fn known() -> impl Strategy<Value = Known> {
    (
        any::<Option<u16>>(),
        any::<Option<u16>>(),
        proptest::option::of(1_u16..5),
        any::<bool>(),
        proptest::collection::vec(1_u16..5, 0..3),
    )
        .prop_map(|(established, embryonic, moved, handed_over, untold)| {
            let backend = |id| BackendRef { id, generation: 1 };
            Known {
                established: established.map(backend),
                embryonic: embryonic.map(backend),
                moved,
                handed_over,
                untold,
                asked: Vec::new(),
            }
        })
}

proptest! {
    #[test]
    fn a_marked_packet_never_travels_again(
        now in target(), next in target(), mut known in known(), kind in 0_usize..3,
    ) {
        let segment = [Segment::Syn, Segment::Tcp, Segment::Udp][kind];
        let decision = decide(segment, true, slot(now, next), &mut known);
        let travels = matches!(decision, Decision::HandOver { .. });
        prop_assert!(!travels, "{decision:?}");
    }

    #[test]
    fn a_packet_handed_over_to_us_is_handed_on_only_with_a_mark(
        now in target(), next in target(), mut known in known(), kind in 0_usize..3,
    ) {
        known.handed_over = true;
        let segment = [Segment::Syn, Segment::Tcp, Segment::Udp][kind];
        let decision = decide(segment, false, slot(now, next), &mut known);
        let plain = matches!(decision, Decision::HandOver { marked: false, .. });
        prop_assert!(!plain, "{decision:?}");
    }

    #[test]
    fn who_has_found_an_established_flow_where_rules_begin_with_them_knows_enough(
        now in target(), next in target(), mut known in known(), marked: bool, udp: bool,
    ) {
        let segment = if udp { Segment::Udp } else { Segment::Tcp };
        let slot = slot(now, next);
        prop_assume!(begins_with_flows(segment, slot));
        let decision = decide(segment, marked, slot, &mut known);
        prop_assert_eq!(known.asked.first(), Some(&"established"));
        if let Some(backend) = known.established {
            prop_assert_eq!(decision, Decision::Deliver(Found::Established(backend)));
        }
    }

    #[test]
    fn tcp_is_dropped_only_while_unsettled_or_marked(
        now in target(), next in target(), mut known in known(), marked: bool,
    ) {
        let decision = decide(Segment::Tcp, marked, slot(now, next), &mut known);
        match decision {
            Decision::Unsettled => prop_assert!(!known.untold.is_empty()),
            Decision::Stranded => prop_assert!(marked),
            Decision::Deliver(_) | Decision::HandOver { .. } | Decision::Reject => {}
        }
    }
}
