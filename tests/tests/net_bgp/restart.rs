//! What a router sees of an agent that is restarted, killed or drained.

use anyhow::ensure;
use lb_tests::frr::host_prefix;
use lb_tests::lab::Lab;
use lb_tests::load::{Load, Tally, Target, spread};
use lb_tests::{require, wait};

use super::{CONNECTIONS, LIMIT, logs, spec, wait_bfd, wait_next_hops};

pub(super) fn assert_clean(load: &Load, what: &str) {
    load.wait_for_answers(4).expect("answers");
    let tally = Tally::of(load.look().expect("traffic runs"));
    assert!(tally.is_clean(), "after {what}: {tally:?}");
}

#[test]
fn the_router_has_one_next_hop_a_node_and_restarts_lose_nothing() {
    if !require::root("net") {
        return;
    }
    let mut lab = Lab::up(spec("bgpfrr")).expect("the lab comes up");
    wait_next_hops(&lab, &[1, 2, 3]);
    for vip in lab.vips().into_iter().take(2) {
        let spread = spread(&lab.client(), Target::tcp((vip, 80)), 150).expect("flows");
        assert_eq!((spread.lost, spread.masked), (0, 0), "{vip}: {spread:?}");
        assert_eq!(spread.by_pod.len(), 3, "{vip}: {spread:?}");
    }
    let load = Load::open(&lab, CONNECTIONS, 0).expect("flows open");

    let frr = lab.frr();
    // A restart, and a crash: the router keeps the way by the node.
    for crash in [false, true] {
        let node = lab.node(2);
        let vip = lab.vips()[0];
        if crash {
            node.kill_agent().expect("killed");
        } else {
            node.stop_agent().expect("stopped");
        }
        let peer = node.address_like(vip).to_string();
        wait::until_ok(LIMIT, "the router sees that the session is gone", || {
            let neighbor = frr.json(&format!("show bgp neighbors {peer}"))?;
            ensure!(neighbor[&peer]["bgpState"] != "Established", "{neighbor}");
            Ok(())
        })
        .expect("it does");
        let hops = frr.bgp_next_hops(vip).expect("FRR answers");
        assert_eq!(hops.len(), 3, "crash: {crash}: {hops:?}");
        node.start_agent().expect("started");
        node.wait_ready().expect("ready");
        wait::until_ok(LIMIT, "the session is there again", || {
            let neighbor = frr.json(&format!("show bgp neighbors {peer}"))?;
            ensure!(neighbor[&peer]["bgpState"] == "Established", "{neighbor}");
            let hops = frr.bgp_next_hops(vip)?;
            ensure!(hops.len() == 3, "{hops:?}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)));
        assert_clean(&load, if crash { "a crash" } else { "a restart" });
    }

    // A node that is drained says so, and then its way is gone.
    lab.exclude_node(3, true);
    lab.write().expect("written");
    let vip = host_prefix(lab.vips()[0]);
    wait::until_ok(LIMIT, "the router is told of the drain", || {
        let route = frr.ask(&format!("show bgp ipv4 unicast {vip}"))?;
        ensure!(route.contains("graceful-shutdown"), "{route}");
        Ok(())
    })
    .expect("GRACEFUL_SHUTDOWN");
    wait_next_hops(&lab, &[1, 2]);
    assert_clean(&load, "a drain");
    lab.exclude_node(3, false);
    lab.write().expect("written");
    wait_next_hops(&lab, &[1, 2, 3]);
    assert_clean(&load, "the drain's end");

    // What an administrator asks for.
    frr.ask("clear bgp ipv4 unicast * soft in")
        .expect("asked to be told again");
    wait_next_hops(&lab, &[1, 2, 3]);
    let tally = Tally::of(load.finish().expect("traffic ends"));
    assert!(tally.is_clean(), "{tally:?}");
    lab.down().expect("the lab goes");
}

/// An agent that is restarted is missed neither by BGP nor by BFD.
#[test]
fn a_restart_takes_up_the_sessions_of_bfd() {
    if !require::root("net") {
        return;
    }
    let mut spec = spec("bgpbfd");
    spec.bfd = true;
    let lab = Lab::up(spec).expect("the lab comes up");
    wait_next_hops(&lab, &[1, 2, 3]);
    wait_bfd(&lab);
    let load = Load::open(&lab, CONNECTIONS, 0).expect("flows open");
    let (frr, node) = (lab.frr(), lab.node(2));
    let peers: Vec<_> = lab
        .vips()
        .iter()
        .map(|vip| node.address_like(*vip).to_string())
        .collect();
    let downs = || -> Vec<u64> {
        let counters = frr.json("show bfd peers counters").expect("FRR answers");
        let rows = counters.as_array().cloned().unwrap_or_default();
        let of_node = rows
            .iter()
            .filter(|row| peers.iter().any(|peer| row["peer"] == **peer));
        of_node
            .filter_map(|row| row["session-down"].as_u64())
            .collect()
    };
    let before = downs();
    assert_eq!(before.len(), 2, "{before:?}");
    node.stop_agent().expect("stopped");
    let hops = frr.bgp_next_hops(lab.vips()[0]).expect("FRR answers");
    assert_eq!(hops.len(), 3, "{hops:?}");
    node.start_agent().expect("started");
    node.wait_ready().expect("ready");
    // As fast as before.
    node.wait_sessions(2, 100)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)));
    assert_eq!(downs(), before, "the router has missed nobody");
    wait_next_hops(&lab, &[1, 2, 3]);
    assert_clean(&load, "a restart");
    // Whoever is not coming back says so.
    lab.down().expect("the lab goes");
}
