//! The first half: nothing changes, and everything arrives.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use lb_tests::command::run;
use lb_tests::lab::address::Pair;
use lb_tests::lab::{Lab, NGINX_PORT, Node, Wire};
use lb_tests::load::{Target, spread};
use serde_json::{Map, Value, json};

use super::story::Story;

const NEW_CONNECTIONS: u32 = 1000;
/// Of the lines that `bpftool` prints of one table.
const LINES_SHOWN: usize = 24;

pub(super) fn vips(lab: &Lab) -> Pair {
    lab.manifests.services[0].vip
}

pub(super) fn who_answers(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("Who answers for the address of the service");
    if lab.spec().wire == Wire::Routed {
        story.say("The router has a route for it, to node1: nobody is asked by ARP.");
        story.note("arp", Value::Null);
        return Ok(());
    }
    let mut families = Map::new();
    for (vip, question, answered) in [
        (IpAddr::from(vips(lab).v4), "ARP", "arp_answered"),
        (IpAddr::from(vips(lab).v6), "NDP", "ndp_answered"),
    ] {
        let owner = lab.wait_owner(vip, |_| true)?;
        let before = count(lab, answered)?;
        lab.forget_neighbour(vip)?;
        // Any packet makes the client ask.
        let asked = spread(&lab.client(), Target::tcp((vip, NGINX_PORT)), 1)?;
        let answers = since(&count(lab, answered)?, &before);
        let mac = lab.neighbour(vip)?;
        story.say(&format!(
            "{question}, who has {vip}? {} answers: it is at {}",
            owner.name(),
            mac.as_deref().unwrap_or("nobody's")
        ));
        let others: u64 = answers
            .iter()
            .filter(|(name, _)| **name != owner.name())
            .map(|(_, count)| count)
            .sum();
        let right = mac == Some(owner.mac()?);
        let own = answers[&owner.name()];
        story.promise(
            right && own > 0 && others == 0 && asked.lost == 0,
            &format!("its owner answered, and the other nodes were silent ({question})"),
        );
        families.insert(
            question.to_lowercase(),
            json!({"vip": vip, "owner": owner.name(), "mac": mac, "answers": answers}),
        );
    }
    story.note("arp", families.into());
    Ok(())
}

pub(super) fn new_connections(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("1,000 new connections, with IPv4 and with IPv6");
    let names: Vec<String> = reasons(lab.node(1))?;
    let before: Vec<_> = counted(lab, &names)?;
    let mut families = Map::new();
    for (family, vip) in ["ipv4", "ipv6"].into_iter().zip(vips(lab).both()) {
        let target = Target::tcp((vip, NGINX_PORT));
        let spread = spread(&lab.client(), target, NEW_CONNECTIONS)?;
        let share = spread.largest_share(lab.spec().pods.into());
        let pods: Vec<String> = spread
            .by_pod
            .iter()
            .map(|(pod, count)| format!("{pod} {count}"))
            .collect();
        story.say(&format!("{vip}: {}", pods.join(", ")));
        story.promise(
            spread.lost == 0 && spread.by_pod.len() == usize::from(lab.spec().pods) && share <= 1.3,
            &format!(
                "{} of {NEW_CONNECTIONS} answered, none of the pods with more than 1.3 times its \
                 share (the busiest has {share:.2}){}",
                spread.answered(),
                spread
                    .reason
                    .as_ref()
                    .map(|why| format!("; one failed: {why}"))
                    .unwrap_or_default()
            ),
        );
        story.promise(
            spread.masked == 0,
            "every pod saw the client's own address and port",
        );
        families.insert(
            family.to_owned(),
            json!({
                "vip": vip,
                "connections": NEW_CONNECTIONS,
                "answered": spread.answered(),
                "connections_lost": spread.lost,
                "client_address_lost": spread.masked,
                "by_pod": spread.by_pod,
                "largest_share": (share * 100.0).round() / 100.0,
            }),
        );
    }
    story.note("new_connections", families.into());
    node_to_node(lab, story, &names, &before)
}

/// Which packets of these connections went from node to node.
fn node_to_node(
    lab: &Lab,
    story: &mut Story,
    names: &[String],
    before: &[BTreeMap<String, u64>],
) -> Result<()> {
    story.say("");
    story.say("Packets of these connections that clients sent, by node:");
    let mut nodes = Map::new();
    let mut handed_over = 0;
    let mut delivered = 0;
    for ((node, now), before) in lab.nodes().zip(counted(lab, names)?).zip(before) {
        let added = since(&now, before);
        let total = |part: &str| -> u64 {
            let rows = added.iter().filter(|(name, _)| name.starts_with(part));
            rows.map(|(_, count)| count).sum()
        };
        story.say(&format!(
            "{}: {:>5} handed over to the pod's node, {:>5} delivered to its own pod",
            node.name(),
            total("handed_o"),
            total("delivered_"),
        ));
        handed_over += total("handed_o");
        delivered += total("delivered_");
        let added: BTreeMap<_, _> = added.into_iter().filter(|(_, count)| *count > 0).collect();
        nodes.insert(node.name(), json!(added));
    }
    story.say("Answers go from the pod's node straight to the client.");
    story.promise(
        handed_over > 0 && delivered > handed_over / 2,
        "pods on other nodes are reached in one hand-over",
    );
    story.note("packets", nodes.into());
    Ok(())
}

pub(super) fn what_the_kernel_holds(lab: &Lab, story: &mut Story) -> Result<()> {
    story.chapter("What the kernel holds (bpftool, node1, table FRONTENDS)");
    let maps = lab.node(1).ask(&["maps"])?;
    let maps = maps["maps"].as_array().context("maps are a list")?;
    let frontends = maps.iter().find(|map| map["name"] == "FRONTENDS");
    let path = frontends
        .and_then(|map| map["path"].as_str())
        .context("there is a map FRONTENDS")?;
    let dump = run("bpftool", &["map", "dump", "pinned", path])?;
    for line in dump.lines().take(LINES_SHOWN) {
        story.say(line);
    }
    story.say("…");
    story.promise(
        dump.contains("\"vip\"") && dump.contains("\"port\""),
        "bpftool shows named fields",
    );
    let lines: Vec<&str> = dump.lines().take(LINES_SHOWN).collect();
    story.note("bpftool", json!({"path": path, "first_lines": lines}));
    Ok(())
}

/// One counter of each node.
fn count(lab: &Lab, reason: &str) -> Result<BTreeMap<String, u64>> {
    lab.nodes()
        .map(|node| Ok((node.name(), node.counter(reason)?)))
        .collect()
}

/// Those counters that say where packets went.
fn reasons(node: Node<'_>) -> Result<Vec<String>> {
    let answer = node.ask(&["counters"])?;
    let counters = answer["counters"]
        .as_object()
        .context("counters are an object")?;
    let ways = ["handed_o", "delivered_"];
    Ok(counters
        .keys()
        .filter(|name| ways.iter().any(|way| name.starts_with(way)))
        .cloned()
        .collect())
}

fn counted(lab: &Lab, names: &[String]) -> Result<Vec<BTreeMap<String, u64>>> {
    lab.nodes()
        .map(|node| {
            let answer = node.ask(&["counters"])?;
            let row = |name: &String| {
                let count = answer["counters"][name].as_u64().unwrap_or_default();
                (name.clone(), count)
            };
            Ok(names.iter().map(row).collect())
        })
        .collect()
}

fn since(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(name, count)| (name.clone(), count - before.get(name).unwrap_or(&0)))
        .collect()
}
