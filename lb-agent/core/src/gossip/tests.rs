//! Dialogues with one agent. Whole clusters are in `tests/membership`.

use alloc::vec;

use super::wire::Echo;
use super::*;
use crate::model::MemberState;
use crate::time::Timestamp;

const BOOT: u64 = 77;

fn id(name: &str) -> NodeId {
    NodeId::of(&NodeName::new(name))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(100) + Duration::from_millis(ms)
}

/// The agent of `a`, which knows of `b` and `c`.
fn agent() -> Cluster {
    agent_after(&[])
}

/// The process before it knew these.
fn agent_after(remembered: &[&str]) -> Cluster {
    let config = Config {
        node: NodeName::new("a"),
        boot: BOOT,
        timing: Timing::NORMAL,
        remembered: remembered.iter().map(|name| NodeName::new(name)).collect(),
    };
    let mut agent = Cluster::new(config, 1, at(0));
    let address = |last| vec![IpAddr::from([192, 0, 2, last])];
    let nodes = [("a", 1), ("b", 2), ("c", 3)];
    let nodes = nodes.map(|(name, last)| (NodeName::new(name), address(last)));
    agent.configure(&nodes.into(), at(0));
    drain(&mut agent);
    agent
}

fn drain(agent: &mut Cluster) -> Vec<Output> {
    core::iter::from_fn(|| agent.poll_output()).collect()
}

/// What `b` says, having had what was sent at `echo`.
fn beat(sent: Timestamp, echo: Option<(u64, Timestamp)>) -> Beat {
    Beat {
        programmed: true,
        uplinks_up: true,
        sent_us: sent.micros(),
        patience_ms: 400,
        echo: echo.map(|(boot, sent)| Echo {
            boot,
            sent_us: sent.micros(),
            held_us: 0,
        }),
        ..Beat::default()
    }
}

fn from_b(standing: Standing, beat: Beat) -> Received {
    Received {
        sender: id("b"),
        boot: 5,
        counter: 1,
        standing,
        from: [192, 0, 2, 2].into(),
        beat,
    }
}

fn sent(outputs: &[Output]) -> Vec<(NodeId, Beat)> {
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send { to, payload, .. } => Some((*to, Beat::decode(payload).unwrap())),
        _ => None,
    });
    sent.collect()
}

/// With `b` alive, heard at 10 ms.
fn heard() -> Cluster {
    let mut agent = agent();
    let answer = beat(at(9), Some((BOOT, at(5))));
    agent.handle_beat(from_b(Standing::New, answer), at(10));
    drain(&mut agent);
    agent
}

#[test]
fn who_is_new_is_asked_and_not_believed() {
    let mut agent = agent();
    agent.handle_beat(from_b(Standing::New, beat(at(1), None)), at(2));
    let outputs = drain(&mut agent);
    let [(to, answer)] = &sent(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*to, id("b"));
    assert!(answer.answer);
    let echo = answer.echo.unwrap();
    assert_eq!((echo.boot, echo.sent_us), (5, at(1).micros()));
    assert_eq!(outputs.len(), 1, "nothing else follows from it");
    assert!(!agent.members().by_node.contains_key(&NodeName::new("b")));
}

#[test]
fn who_is_new_and_repeats_itself_is_asked_once_in_a_while() {
    let mut agent = agent();
    let mut answers = 0;
    for n in 0..100 {
        let now = at(10) + Duration::from_micros(n * 100);
        agent.handle_beat(from_b(Standing::New, beat(at(1), None)), now);
        answers += sent(&drain(&mut agent)).len();
    }
    assert_eq!(answers, 2);
}

#[test]
fn who_answers_to_what_was_said_just_now_is_confirmed_and_there() {
    let mut agent = agent();
    let answer = beat(at(9), Some((BOOT, at(5))));
    agent.handle_beat(from_b(Standing::New, answer), at(10));
    let outputs = drain(&mut agent);
    let confirm = Output::Confirm {
        sender: id("b"),
        boot: 5,
        counter: 1,
    };
    assert_eq!(outputs[0], confirm);
    let members = agent.members();
    let member = &members.by_node[&NodeName::new("b")];
    assert_eq!(member.state, MemberState::Alive);
    assert!(member.counts());
}

#[test]
fn an_answer_to_another_run_or_from_long_ago_confirms_nobody() {
    for echo in [(BOOT + 1, at(1999)), (BOOT, at(900)), (BOOT, at(2001))] {
        let mut agent = agent();
        agent.handle_beat(from_b(Standing::New, beat(at(1999), Some(echo))), at(2000));
        let outputs = drain(&mut agent);
        let confirms = |output: &Output| matches!(output, Output::Confirm { .. });
        assert!(!outputs.iter().any(confirms), "{echo:?}");
    }
}

#[test]
fn a_node_that_is_not_configured_is_not_answered() {
    let mut agent = agent();
    let mut received = from_b(Standing::Confirmed, beat(at(1), None));
    received.sender = id("stranger");
    agent.handle_beat(received, at(2));
    assert_eq!(drain(&mut agent), []);
}

#[test]
fn what_was_overtaken_says_nothing_new() {
    let mut agent = heard();
    let mut late = beat(at(8), Some((BOOT, at(4))));
    late.programmed = false;
    agent.handle_beat(from_b(Standing::Confirmed, late), at(11));
    assert_eq!(drain(&mut agent), []);
    assert!(agent.members().counts(&NodeName::new("b")));
}

#[test]
fn who_asks_is_answered_at_once_with_what_was_heard() {
    let mut agent = heard();
    let mut question = beat(at(30), None);
    question.answer = true;
    question.asks = vec![id("c"), id("a"), id("stranger")];
    agent.handle_beat(from_b(Standing::Confirmed, question), at(31));
    let outputs = drain(&mut agent);
    let [(_, answer)] = &sent(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(answer.heard, [], "c was never heard");

    let mut of_c = from_b(Standing::New, beat(at(35), Some((BOOT, at(31)))));
    of_c.sender = id("c");
    agent.handle_beat(of_c, at(36));
    drain(&mut agent);
    let mut question = beat(at(40), None);
    question.answer = true;
    question.asks = vec![id("c")];
    agent.handle_beat(from_b(Standing::Confirmed, question), at(41));
    let outputs = drain(&mut agent);
    assert_eq!(sent(&outputs)[0].1.heard, [(id("c"), 5)]);
}

#[test]
fn silence_is_asked_about_and_borne_for_as_long_as_was_said() {
    let mut agent = heard();
    let mut down = None;
    let mut asked = 0;
    for ms in 11..1000 {
        let now = at(ms);
        if agent.deadline().is_some_and(|deadline| deadline <= now) {
            agent.handle_timeout(now);
        }
        for output in drain(&mut agent) {
            match output {
                Output::Send { to, payload, .. } if to == id("b") && down.is_none() => {
                    asked += u32::from(Beat::decode(&payload).unwrap().answer);
                }
                Output::Members(members) => {
                    let state = members.by_node[&NodeName::new("b")].state;
                    if state == MemberState::Down {
                        down.get_or_insert(ms);
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(down, Some(410));
    assert!((4..8).contains(&asked), "{asked}");
}

#[test]
fn the_longer_patience_of_two_holds() {
    let mut agent = heard();
    let mut patient = beat(at(20), None);
    patient.patience_ms = 900;
    agent.handle_beat(from_b(Standing::Confirmed, patient), at(20));
    drain(&mut agent);
    for ms in 21..910 {
        agent.handle_timeout(at(ms));
        drain(&mut agent);
        let state = agent.members().by_node[&NodeName::new("b")].state;
        assert_ne!(state, MemberState::Down, "{ms} ms");
    }
    agent.handle_timeout(at(921));
    drain(&mut agent);
    let state = agent.members().by_node[&NodeName::new("b")].state;
    assert_eq!(state, MemberState::Down);
}

#[test]
fn who_leaves_asks_until_it_is_heard() {
    let mut agent = heard();
    agent.leave(None, at(50));
    let outputs = drain(&mut agent);
    let (to, beat_out) = &sent(&outputs)[0];
    assert_eq!(*to, id("b"));
    assert!(beat_out.leaving && beat_out.answer);
    let mut done = beat(at(51), Some((BOOT, at(50))));
    agent.handle_beat(from_b(Standing::Confirmed, done.clone()), at(52));
    assert!(!drain(&mut agent).contains(&Output::Released));
    (done.acted, done.sent_us) = (true, at(60).micros());
    agent.handle_beat(from_b(Standing::Confirmed, done), at(61));
    assert!(drain(&mut agent).contains(&Output::Released));
}

#[test]
fn large_clusters_beat_more_slowly_and_have_more_patience() {
    for peers in [0, 1, 8, 49, 100] {
        assert_eq!(Timing::NORMAL.among(peers), Timing::NORMAL);
    }
    assert_eq!(Timing::FAST.among(40), Timing::FAST);
    let large = Timing::NORMAL.among(1000);
    assert_eq!(large.period, Duration::from_secs(1));
    assert_eq!(large.patience, Duration::from_secs(4));
}

#[test]
fn who_was_known_before_counts_until_it_is_silent_and_is_down_then() {
    let mut agent = agent_after(&["b", "d"]);
    let b = NodeName::new("b");
    assert!(!agent.members().settled, "it was not heard yet");
    assert!(agent.members().counts(&b));
    assert!(!agent.members().by_node.contains_key(&NodeName::new("d")));
    for ms in 0..900 {
        agent.handle_timeout(at(ms));
        drain(&mut agent);
    }
    let members = agent.members();
    assert!(members.settled);
    assert_eq!(members.by_node[&b].state, MemberState::Down);
    assert!(!members.by_node.contains_key(&NodeName::new("c")));
}

#[test]
fn who_lost_its_node_object_is_not_remembered_when_it_gets_another() {
    let mut agent = agent_after(&["b"]);
    let address = |last| vec![IpAddr::from([192, 0, 2, last])];
    agent.configure(&[(NodeName::new("c"), address(3))].into(), at(10));
    drain(&mut agent);
    let both = [("b", 2), ("c", 3)].map(|(name, last)| (NodeName::new(name), address(last)));
    agent.configure(&both.into(), at(20));
    drain(&mut agent);
    assert!(!agent.members().by_node.contains_key(&NodeName::new("b")));
}
