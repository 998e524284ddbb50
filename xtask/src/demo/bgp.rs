//! `--bgp`: a router learns where the addresses are, a node is lost, and no
//! connection with it but those of its own pod.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{ECHO_UDP_PORT, Lab, Loss, NGINX_PORT};
use lb_tests::load::{Flow, Load, Probes, Tally, Target, longest_gap, spread};
use lb_tests::wait;
use serde_json::json;

use super::forwarding::vips;
use super::story::Story;

/// Per family.
const CONNECTIONS: usize = 100;
const NEW_CONNECTIONS: u32 = 300;
/// UDP flows with a datagram every 5 ms, per family.
const PROBES: usize = 12;
const LOST: u8 = 2;
/// Three packets of BFD, and what the router then takes.
const DARK_MS: u128 = 500;
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn tell(lab: &mut Lab, story: &mut Story) -> Result<()> {
    sessions(lab, story)?;
    the_routers_table(lab, story)?;
    new_connections(lab, story)?;
    a_node_is_lost(lab, story)
}

fn sessions(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("The router learns where the addresses are");
    lab.wait_next_hops(&[1, 2, 3])?;
    lab.wait_watched()?;
    story.say("The router is FRR, of AS 64512; the nodes are AS 64513. Each node's agent has a");
    story.say("session of BGP with it over IPv4 and one over IPv6, and watches it by BFD, as the");
    story.say("router watches the node: a packet every 100 ms, of which three are missed.");
    for node in lab.nodes() {
        let rows = node.ask(&["bgp"])?;
        let rows = rows["routers"].as_array().cloned().unwrap_or_default();
        let good = rows
            .iter()
            .filter(|row| row["established"] == true && row["bfd"]["up"] == true)
            .count();
        story.promise(
            good == 2,
            &format!(
                "{}: {good} of 2 sessions are established, with BFD up",
                node.name()
            ),
        );
    }
    Ok(())
}

fn the_routers_table(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("The router's table (show ip bgp)");
    let table = lab.frr().ask("show ip bgp")?;
    let shown = |line: &&str| line.starts_with('*') || line.contains("Next Hop");
    for line in table.lines().filter(shown) {
        story.say(line);
    }
    story.say("");
    for vip in lab.vips() {
        let hops = lab.frr().bgp_next_hops(vip)?;
        story.promise(
            hops.len() == 3,
            &format!(
                "{vip} has {} ways, one by each node: {}",
                hops.len(),
                hops.join(", ")
            ),
        );
    }
    story.note("show_ip_bgp", json!(table));
    Ok(())
}

fn new_connections(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("New connections");
    for vip in vips(lab).both() {
        let new = spread(
            &lab.client(),
            Target::tcp((vip, NGINX_PORT)),
            NEW_CONNECTIONS,
        )?;
        let pods: Vec<String> = new
            .by_pod
            .iter()
            .map(|(pod, n)| format!("{pod} {n}"))
            .collect();
        story.promise(
            new.lost == 0 && new.masked == 0 && new.by_pod.len() == 3,
            &format!(
                "{NEW_CONNECTIONS} connections to {vip}: {}; {} lost, {} without the client's address",
                pods.join(", "),
                new.lost,
                new.masked
            ),
        );
    }
    Ok(())
}

fn a_node_is_lost(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("200 connections are open, and a node is lost without a word");
    let tcp = vips(lab).both();
    let targets = tcp
        .into_iter()
        .flat_map(|vip| [Target::tcp((vip, NGINX_PORT)); CONNECTIONS]);
    let load = Load::start(&lab.client(), targets.collect())?;
    let udp = lab.manifests.services[1].vip.both().into_iter();
    let probed = udp.flat_map(|vip| [(vip, ECHO_UDP_PORT).into(); PROBES]);
    let probes = Probes::udp(&lab.client(), probed.collect());
    load.wait_for_answers(10)?;
    let all = load.look()?;
    let own = all.iter().filter(|flow| !is_elsewhere(&flow.pod)).count();
    story.say(&format!(
        "Nothing goes to node{LOST} or comes from it any more, and its link is up. {own} of the"
    ));
    story.say(&format!(
        "200 connections are to its own pod, and are lost with it; the other {} came in",
        all.len() - own
    ));
    story.say("by any of the three nodes, and the router now spreads them over two.");
    lab.lose(LOST, Loss::Silent)?;
    lab.wait_next_hops(&[1, 3])?;
    elsewhere_lives(&load, story, "after the loss")?;
    let tracks = probes.finish()?;
    let dark = longest_gap(&tracks, is_elsewhere);
    story.promise(
        dark.as_millis() <= DARK_MS,
        &format!(
            "UDP flows to pods elsewhere, a datagram every 5 ms: no answer for {} ms at most \
             (three packets of BFD are 300 ms)",
            dark.as_millis()
        ),
    );
    story.note("time_lost_ms", json!(u64::try_from(dark.as_millis())?));
    lab.find(LOST, Loss::Silent)?;
    lab.wait_next_hops(&[1, 2, 3])?;
    story.say(&format!(
        "node{LOST} is back, and the router spreads all connections anew."
    ));
    elsewhere_lives(&load, story, "after the return")?;
    let flows = load.finish()?;
    let total = Tally::of(flows.iter().filter(|flow| is_elsewhere(&flow.pod)));
    story.promise(
        total.reset == 0 && total.moved == 0 && total.masked == 0,
        &format!(
            "all together: {} connections to pods elsewhere, {} answers, {} reset, {} at another \
             pod",
            total.flows, total.answered, total.reset, total.moved
        ),
    );
    story.note("connections_elsewhere", json!(total.flows));
    story.note("connections_reset", json!(total.reset));
    Ok(())
}

fn is_elsewhere(pod: &str) -> bool {
    !pod.is_empty() && !pod.starts_with(&format!("node{LOST}-"))
}

/// Whether every connection of pods elsewhere has new answers.
fn elsewhere_lives(load: &Load, story: &mut Story, when: &str) -> Result<()> {
    let look = || -> Result<Vec<Flow>> {
        let all = load.look()?.into_iter();
        Ok(all.filter(|flow| is_elsewhere(&flow.pod)).collect())
    };
    let before = look()?;
    // Those that are broken are counted below.
    let answered = wait::until_ok(LIMIT, "new answers", || {
        let now = look()?;
        let behind = now
            .iter()
            .zip(&before)
            .filter(|(now, before)| now.broken.is_none() && now.answered <= before.answered + 4);
        ensure!(behind.count() == 0, "some connections wait");
        Ok(())
    });
    let reset = look()?.iter().filter(|flow| flow.broken.is_some()).count();
    story.promise(
        answered.is_ok() && reset == 0,
        &format!(
            "{} connections to pods elsewhere are answered {when}; {reset} reset",
            before.len()
        ),
    );
    answered.context("connections to pods elsewhere")
}
