//! Clients reach pods through the VIP, whichever node the pod is on, and pods
//! see the client's address: on one link and routed, both families, TCP and
//! UDP, checksums left to the hardware or not.

use lb_tests::lab::{Lab, Offload, Spec, Wire};
use lb_tests::load::{Load, Tally, Target, spread};
use lb_tests::require;

/// Enough that chance keeps every pod within 1.3 of its share.
const NEW_FLOWS: u32 = 1000;
const OPEN_FLOWS: usize = 24;

fn check_new_flows(lab: &Lab, target: Target) {
    let spread = spread(&lab.client(), target, NEW_FLOWS).expect("traffic runs");
    assert_eq!(spread.lost, 0, "{target:?}: {spread:?}");
    assert_eq!(spread.masked, 0, "{target:?}: {spread:?}");
    assert_eq!(spread.by_pod.len(), 3, "{target:?}: {spread:?}");
    let largest = spread.largest_share(3);
    assert!(
        largest <= 1.3,
        "{target:?}: {largest} times its share: {spread:?}"
    );
}

/// Packets from one node to another, which most flows need here.
fn handed_over(lab: &Lab) -> u64 {
    let reason = match lab.spec().wire {
        Wire::SameLink => "handed_over",
        Wire::Routed => "handed_over_routed",
    };
    let nodes = lab.nodes();
    nodes
        .map(|node| node.counter(reason).expect("counted"))
        .sum()
}

fn check(prefix: &str, wire: Wire, offload: Offload) {
    if !require::root("net") {
        return;
    }
    let mut spec = Spec::for_test(prefix).expect("programs are built");
    spec.wire = wire;
    spec.offload = offload;
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agents know the endpoints");
    for target in lab.targets() {
        let before = handed_over(&lab);
        check_new_flows(&lab, target);
        assert!(
            handed_over(&lab) > before,
            "{target:?} reached pods elsewhere"
        );
    }
    let open = lab.targets().repeat(OPEN_FLOWS / 4);
    let load = Load::start(&lab.client(), open).expect("flows open");
    load.wait_for_answers(10).expect("flows are answered");
    let tally = Tally::of(load.finish().expect("traffic ends"));
    assert!(tally.is_clean(), "{tally:?}");
    lab.down().expect("the lab goes down");
}

#[test]
fn on_one_link() {
    check("fwdone", Wire::SameLink, Offload::On);
}

#[test]
fn on_one_link_without_offload() {
    check("fwdoneoff", Wire::SameLink, Offload::Off);
}

#[test]
fn behind_a_router() {
    check("fwdrouted", Wire::Routed, Offload::On);
}

#[test]
fn behind_a_router_without_offload() {
    check("fwdroutedoff", Wire::Routed, Offload::Off);
}
