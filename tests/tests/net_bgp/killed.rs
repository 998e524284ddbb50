//! An agent that is killed while BFD watches its node, and graceful restart is
//! agreed on: routers keep the ways by the node, whether or not they look at
//! BFD's control bit, and no packet is lost.

#![expect(clippy::print_stdout, reason = "what was measured")]

use anyhow::ensure;
use lb_tests::frr::Frr;
use lb_tests::lab::Lab;
use lb_tests::load::{Load, Tally, Track, longest_gap};
use lb_tests::{require, wait};
use serde_json::Value;

use super::{CONNECTIONS, LIMIT, logs, probe_udp, spec, wait_bfd, wait_next_hops};

const KILLED: u8 = 2;

/// RFC 5882 section 4.3.2: the control bit is not set, as the agent sends the
/// packets, so that a router that looks at it goes on by graceful restart.
#[test]
fn a_router_that_looks_at_the_control_bit_keeps_the_ways_of_a_killed_agent() {
    kill("bgpkillc", true);
}

/// One that does not look sees the connection end before BFD misses anything:
/// the restart has begun by then.
#[test]
fn a_router_that_does_not_look_at_it_keeps_them_too() {
    kill("bgpkill", false);
}

fn kill(prefix: &str, looks: bool) {
    if !require::root("net") {
        return;
    }
    let mut spec = spec(prefix);
    spec.bfd = true;
    let lab = Lab::up(spec).expect("the lab comes up");
    wait_next_hops(&lab, &[1, 2, 3]);
    let frr = lab.frr();
    if looks {
        look_at_the_control_bit(&lab, &frr);
        wait_next_hops(&lab, &[1, 2, 3]);
    }
    wait_bfd(&lab);
    let load = Load::open(&lab, CONNECTIONS, 0).expect("flows open");
    let probes = probe_udp(&lab);
    load.wait_for_answers(10).expect("answers");

    lab.node(KILLED).kill_agent().expect("killed");
    wait_missed(&lab, &frr);
    wait_next_hops(&lab, &[1, 2, 3]);
    // Connections answer while it is away, too.
    load.wait_for_answers(10).expect("answers");
    lab.node(KILLED).start_agent().expect("started");
    lab.node(KILLED).wait_ready().expect("ready");
    wait_bfd(&lab);
    wait_next_hops(&lab, &[1, 2, 3]);
    wait_back(&lab, &frr);

    load.wait_for_answers(10).expect("answers");
    let tracks = probes.finish().expect("probes run");
    let sent: usize = tracks.iter().map(|track| track.after(0).number()).sum();
    let lost: u64 = tracks.iter().map(|track| track.after(0).lost()).sum();
    let gap = longest_gap(&tracks, |_| true);
    let tally = Tally::of(load.finish().expect("traffic ends"));
    println!(
        "agent killed, BFD on, control bit looked at: {looks}: {lost} of {sent} datagrams without \
         an answer, for {gap:.2?} at most; of {} connections {} reset, {} moved",
        tally.flows, tally.reset, tally.moved
    );
    assert!(tally.is_clean(), "{tally:?}");
    assert_eq!(
        lost,
        0,
        "{:?}",
        tracks.iter().map(Track::lost).collect::<Vec<_>>()
    );
    lab.down().expect("the lab goes");
}

/// Has the router tell apart who is lost with all and who without a control
/// plane.
fn look_at_the_control_bit(lab: &Lab, frr: &Frr) {
    let neighbors = lab.nodes().flat_map(|node| node.address().both());
    let lines: Vec<String> = neighbors
        .map(|peer| format!("neighbor {peer} bfd check-control-plane-failure"))
        .collect();
    let mut commands = vec!["configure terminal", "router bgp 64512"];
    commands.extend(lines.iter().map(String::as_str));
    frr.commands(&commands).expect("configured");
}

/// Waits until the router has missed the agent: by BGP and by BFD.
fn wait_missed(lab: &Lab, frr: &Frr) {
    let peers = peers(lab);
    let waited = wait::until_ok(LIMIT, "the router misses the agent", || {
        for peer in &peers {
            let neighbor = frr.json(&format!("show bgp neighbors {peer}"))?;
            ensure!(neighbor[peer]["bgpState"] != "Established", "{neighbor}");
        }
        let rows = frr.json("show bfd peers")?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        let up = |row: &&Value| row["status"] == "up" && peers.iter().any(|p| row["peer"] == **p);
        ensure!(rows.iter().find(up).is_none(), "{rows:?}");
        Ok(())
    });
    waited.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Waits until its sessions are there, and nothing of it is stale any more.
fn wait_back(lab: &Lab, frr: &Frr) {
    let waited = wait::until_ok(LIMIT, "the router has the agent's routes anew", || {
        for peer in &peers(lab) {
            let neighbor = frr.json(&format!("show bgp neighbors {peer}"))?;
            ensure!(neighbor[peer]["bgpState"] == "Established", "{neighbor}");
        }
        for table in ["ipv4", "ipv6"] {
            let routes = frr.json(&format!("show bgp {table} unicast"))?.to_string();
            ensure!(!routes.contains("\"stale\":true"), "{routes}");
        }
        Ok(())
    });
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", logs(lab)));
}

fn peers(lab: &Lab) -> [String; 2] {
    lab.node(KILLED)
        .address()
        .both()
        .map(|address| address.to_string())
}
