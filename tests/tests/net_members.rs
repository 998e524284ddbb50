//! Agents find each other, and take over from one that died or goes.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{Lab, Loss, Node, Spec, Wire};
use lb_tests::load::{Load, Tally};
use lb_tests::{require, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

fn state_of(node: Node<'_>, other: &str) -> Result<String> {
    let members = node.ask(&["members"])?;
    let peers = members["peers"].as_array().context("it lists peers")?;
    let peer = peers.iter().find(|peer| peer["node"] == other);
    let state = peer.and_then(|peer| peer["state"].as_str());
    Ok(state.context("the node is listed")?.to_owned())
}

/// Waits until all others that run an agent see a node so.
fn wait_seen(lab: &Lab, of: u8, states: &[&str]) {
    let name = lab.node(of).name();
    for node in lab.nodes().filter(|node| node.number() != of) {
        if node.agent_pid().is_none() {
            continue;
        }
        let what = format!("{} sees {name} as {states:?}", node.name());
        let seen = wait::until_ok(LIMIT, &what, || {
            let state = state_of(node, &name)?;
            ensure!(states.contains(&state.as_str()), "it is {state}");
            Ok(())
        });
        seen.expect("in time");
    }
}

fn wait_all_there(lab: &Lab) {
    for node in lab.nodes() {
        wait_seen(lab, node.number(), &["alive"]);
    }
}

/// How long it takes until another one owns the VIP of an agent that is killed,
/// and until one that is asked to end has ended.
fn check(prefix: &str, wire: Wire) -> Option<[Duration; 2]> {
    if !require::root("net") {
        return None;
    }
    let mut spec = Spec::for_test(prefix).expect("programs are built");
    spec.wire = wire;
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agents know the endpoints");
    wait_all_there(&lab);
    let vip = lab.manifests.services[0].vip.both()[0];

    let owner = lab.wait_owner(vip, |_| true).expect("somebody owns it");
    let first = owner.number();
    owner.kill_agent().expect("the agent is killed");
    let (next, took) = wait::timed(|| lab.wait_owner(vip, |node| node != first));
    let next = next.expect("another one takes over");
    assert!(took < Duration::from_secs(3), "{took:?}");
    wait_seen(&lab, first, &["down"]);

    lab.node(first).start_agent().expect("the agent starts");
    lab.node(first).wait_ready().expect("it is ready");
    wait_seen(&lab, first, &["alive"]);
    lab.wait_owner(vip, |node| node == first)
        .expect("it is the owner again");
    let second = next.number();

    let (ended, time) = wait::timed(|| lab.node(first).stop_agent());
    ended.expect("the agent ends");
    let owned = lab.node(second).owns(vip).expect("it is asked");
    assert!(owned, "the next one has taken over by then");
    wait_seen(&lab, first, &["leaving", "down"]);
    lab.down().expect("the lab goes down");
    Some([took, time])
}

#[test]
fn agents_take_over_on_one_link() {
    println!("{:?}", check("memone", Wire::SameLink));
}

#[test]
fn agents_take_over_behind_a_router() {
    println!("{:?}", check("memrouted", Wire::Routed));
}

#[test]
fn an_agent_with_another_secret_is_nobody() {
    if !require::root("net") {
        return;
    }
    let spec = Spec::for_test("memsecret").expect("programs are built");
    let mut lab = Lab::up(spec).expect("the lab comes up");
    wait_all_there(&lab);
    let file = lab.folder().join("another-secret");
    std::fs::write(&file, "another").expect("it is written");
    let odd = lab.node(1);
    odd.stop_agent().expect("the agent ends");
    let arguments = [
        "--cluster-secret-file".to_owned(),
        file.display().to_string(),
    ];
    lab.set_agent_arguments(arguments.to_vec());
    let odd = lab.node(1);
    odd.start_agent().expect("the agent starts");
    odd.wait_ready().expect("it is ready");
    wait_seen(&lab, 1, &["down"]);
    let dropped = |node: Node<'_>| -> Result<Value> {
        Ok(node.ask(&["members"])?["dropped"]["other_secret"].clone())
    };
    for node in lab.nodes() {
        let what = format!("{} drops what is sealed with another secret", node.name());
        let counted = wait::until_ok(LIMIT, &what, || {
            let count = dropped(node)?;
            ensure!(count.as_u64() > Some(3), "{count}");
            Ok(())
        });
        counted.expect("they are counted");
    }
    lab.down().expect("the lab goes down");
}

/// Somebody who has to ask reaches a VIP by that node.
fn check_answers(lab: &Lab, vip: IpAddr, owner: u8) {
    lab.forget_neighbour(vip).expect("forgotten");
    let mac = lab.node(owner).mac().expect("it has a MAC");
    let client = lab.client();
    client
        .run("ping", &["-c", "1", "-W", "1", &vip.to_string()])
        .expect("it answers");
    let known = lab.neighbour(vip).expect("ip answers");
    assert_eq!(known, Some(mac), "{vip} is node{owner}'s");
}

/// Two nodes at least, as the other one then has no majority.
fn restarts_as_planned(prefix: &str, nodes: u8) {
    if !require::root("net") {
        return;
    }
    let mut spec = Spec::for_test(prefix).expect("programs are built");
    spec.nodes = nodes;
    spec.agent_arguments = vec!["--on-terminate".to_owned(), "keep:20".to_owned()];
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agents know the endpoints");
    wait_all_there(&lab);
    let owners: Vec<(IpAddr, u8)> = lab
        .vips()
        .into_iter()
        .map(|vip| {
            let owner = lab.wait_owner(vip, |_| true).expect("somebody owns it");
            (vip, owner.number())
        })
        .collect();
    let load = Load::open(&lab, 20, 5).expect("flows open");
    let owner = owners[0].1;
    lab.node(owner).stop_agent().expect("the agent ends");
    wait_seen(&lab, owner, &["leaving"]);
    // For longer than anybody would wait for one that was killed.
    for _ in 0..20 {
        for (vip, owner) in &owners {
            check_answers(&lab, *vip, *owner);
        }
        wait::pass(Duration::from_millis(100));
    }
    lab.node(owner).start_agent().expect("the agent starts");
    lab.node(owner).wait_ready().expect("it is ready");
    wait_all_there(&lab);
    for (vip, owner) in owners {
        lab.wait_owner(vip, |node| node == owner)
            .expect("it has kept it");
    }
    load.wait_for_answers(2).expect("flows go on");
    let tally = Tally::of(load.finish().expect("traffic ends"));
    assert!(tally.is_clean(), "{tally:?}");
    lab.down().expect("the lab goes down");
}

#[test]
fn a_planned_restart_moves_no_vip() {
    restarts_as_planned("memkeep", 3);
}

#[test]
fn a_planned_restart_moves_no_vip_where_there_are_two_nodes() {
    restarts_as_planned("memkeeptwo", 2);
}

#[test]
fn who_does_not_come_back_in_time_is_taken_over_from() {
    if !require::root("net") {
        return;
    }
    let mut spec = Spec::for_test("memlate").expect("programs are built");
    spec.agent_arguments = vec!["--on-terminate".to_owned(), "keep:2".to_owned()];
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agents know the endpoints");
    wait_all_there(&lab);
    let vip = lab.vips()[0];
    let owner = lab.wait_owner(vip, |_| true).expect("somebody owns it");
    let first = owner.number();
    owner.stop_agent().expect("the agent ends");
    let (next, took) = wait::timed(|| lab.wait_owner(vip, |node| node != first));
    next.expect("another one takes over");
    let limits = Duration::from_millis(1500)..Duration::from_secs(5);
    assert!(limits.contains(&took), "{took:?}");
    lab.down().expect("the lab goes down");
}

/// Two nodes behind a router, one of which is cut off without anybody saying so:
/// each hears nobody, and one of them reaches its gateway.
#[test]
fn of_two_nodes_the_one_that_reaches_its_gateway_goes_on() {
    if !require::root("net") {
        return;
    }
    let mut spec = Spec::for_test("memgate").expect("programs are built");
    (spec.nodes, spec.wire) = (2, Wire::Routed);
    let lab = Lab::up(spec).expect("the lab comes up");
    lab.wait_applied().expect("the agents know the endpoints");
    wait_all_there(&lab);
    let vip = lab.vips()[0];
    let owner = lab.wait_owner(vip, |_| true).expect("somebody owns it");
    let lost = owner.number();
    lab.lose(lost, Loss::Silent).expect("it is cut off");
    let stands = || -> Result<()> {
        for node in lab.nodes() {
            let owns = node.owns(vip)?;
            let should = node.number() != lost;
            ensure!(owns == should, "{} answers: {owns}", node.name());
        }
        Ok(())
    };
    let (stood, took) = wait::timed(|| wait::until_ok(LIMIT, "the other one answers", stands));
    stood.expect("in time");
    println!("{took:?} until one answers and the other one does not");
    // What the kernel knows of its neighbours may be 30 s old.
    assert!(took < Duration::from_secs(10), "{took:?}");
    lab.find(lost, Loss::Silent).expect("it is back");
    wait_all_there(&lab);
    lab.wait_owner(vip, |node| node == lost)
        .expect("it has it back, and nobody else");
    lab.down().expect("the lab goes down");
}
