//! Frontends that settle by what agents tell each other.

use super::{Agent, VIP, unsettled, web};
use crate::dataplane::Maps;
use crate::model::Inputs;
use crate::model::sample::READY;
use crate::moved::Awaiting;
use alloc::sync::Arc;
use core::time::Duration;
use lb_common::frontend::{FrontendKey, flags};

fn key() -> FrontendKey {
    FrontendKey::new(super::ip(VIP).into(), 80, 6)
}

fn awaits(agent: &Agent) -> bool {
    assert_eq!(unsettled(agent, VIP), (false, false));
    agent.frontend(VIP).flags & flags::AWAITING_TOLD != 0
}

/// All that matters have told for the set that is there now.
fn tell(agent: &mut Agent, inputs: &Inputs) {
    let mut awaiting = Awaiting::unknown();
    let hash = agent.frontend(VIP).endpoints_hash;
    awaiting.told.insert(key(), hash);
    agent.ledger.hear(Arc::new(awaiting));
    agent.run(inputs);
}

fn running(inputs: &Inputs) -> Agent {
    let mut agent = Agent::new();
    agent.ledger.hear(Arc::new(Awaiting::unknown()));
    agent.run(inputs);
    agent
}

fn more() -> Inputs {
    web().pod("web", "10.1.2.3", "node2", READY)
}

#[test]
fn what_is_seen_first_waits_until_all_have_told() {
    let mut agent = running(&web());
    assert!(awaits(&agent));
    tell(&mut agent, &web());
    assert!(!awaits(&agent));
}

#[test]
fn every_change_waits_anew_and_with_the_table_that_it_brings() {
    let mut agent = running(&web());
    tell(&mut agent, &web());
    let before = agent.frontend(VIP).endpoints_hash;
    agent.run(&more());
    assert!(awaits(&agent));
    assert_ne!(agent.frontend(VIP).endpoints_hash, before);
    tell(&mut agent, &more());
    assert!(!awaits(&agent));
    // Also one that takes away what was added.
    agent.run(&web());
    assert!(awaits(&agent));
}

#[test]
fn nobody_is_waited_for_longer_than_a_minute() {
    let mut agent = running(&web());
    agent.wait(Duration::from_secs(59));
    agent.run(&web());
    assert!(awaits(&agent));
    let deadline = agent.ledger.deadline(&agent.current).unwrap();
    assert_eq!(deadline.since(agent.now), Duration::from_secs(1));
    agent.wait(Duration::from_secs(1));
    agent.run(&web());
    assert!(!awaits(&agent));
}

#[test]
fn who_only_has_pods_here_waits_for_nobody() {
    let alone = super::nodes()
        .service("web", VIP)
        .pod("web", "10.1.1.2", "node1", READY);
    assert!(!awaits(&running(&alone)));
}

#[test]
fn a_restart_goes_on_waiting_where_it_was() {
    let mut agent = running(&web());
    tell(&mut agent, &web());
    agent.wait(Duration::from_secs(5));
    agent.run(&more());
    let changed_s = agent.frontend(VIP).changed_s;
    agent.wait(Duration::from_secs(5));
    agent.restart();
    agent.ledger.hear(Arc::new(Awaiting::unknown()));
    assert_eq!(agent.run(&more()), []);
    assert!(awaits(&agent));
    assert_eq!(agent.frontend(VIP).changed_s, changed_s);
}

#[test]
fn maps_that_were_lost_are_waited_for() {
    let mut agent = running(&web());
    tell(&mut agent, &web());
    agent.maps = Maps::default();
    agent.restart();
    agent.ledger.hear(Arc::new(Awaiting::unknown()));
    agent.run(&web());
    assert!(awaits(&agent));
}

#[test]
fn where_somebody_does_not_speak_a_frontend_settles_by_time() {
    let mut agent = running(&web());
    tell(&mut agent, &web());
    let mut awaiting = Awaiting::unknown();
    awaiting.by_time.insert(key());
    agent.ledger.hear(Arc::new(awaiting));
    agent.run(&more());
    assert_eq!(unsettled(&agent, VIP), (true, true));
    assert_eq!(agent.frontend(VIP).flags & flags::AWAITING_TOLD, 0);
}
