//! Who answers for VIPs on a link: exactly one node, also where all of them
//! have the address on a device, as kube-proxy's ipvs mode leaves it; nobody
//! where another machine has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{Lab, Spec, UPLINK, Wire, address};
use lb_tests::load::{Target, spread};
use lb_tests::{require, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// The VIPs of the first Service.
fn vips(lab: &Lab) -> [IpAddr; 2] {
    lab.manifests.services[0].vip.both()
}

/// How many questions a node has answered, ARP and NDP.
fn answered(lab: &Lab) -> BTreeMap<u8, u64> {
    let count = |node: lb_tests::lab::Node<'_>| {
        let of = |reason| node.counter(reason).expect("counted");
        (node.number(), of("arp_answered") + of("ndp_answered"))
    };
    lab.nodes().map(count).collect()
}

#[test]
fn one_node_answers_although_all_have_the_address_on_a_device() {
    if !require::root("net") {
        return;
    }
    let lab = Lab::up(Spec::for_test("lba").expect("programs are built")).expect("the lab");
    lab.wait_applied().expect("the agents know the endpoints");
    for node in lab.nodes() {
        let namespace = node.namespace();
        let ignore = |device| format!("net/ipv4/conf/{device}/arp_ignore");
        let settings = ["all", UPLINK].map(ignore);
        let settings = settings.each_ref().map(|name| (name.as_str(), "0"));
        namespace.sysctl(&settings).expect("ARP is answered");
        for vip in vips(&lab) {
            let length = if vip.is_ipv4() { 32 } else { 128 };
            let line = format!("addr add {vip}/{length} dev lo nodad");
            let line = if vip.is_ipv4() {
                line.replace(" nodad", "")
            } else {
                line
            };
            namespace.ip(&line).expect("the address is added");
        }
    }
    for vip in vips(&lab) {
        let owner = lab.wait_owner(vip, |_| true).expect("one owner");
        let right = owner.mac().expect("it has a MAC");
        // Who answers first is believed, so ask often.
        for _ in 0..20 {
            let before = answered(&lab);
            lab.forget_neighbour(vip).expect("forgotten");
            let port = lab.manifests.services[0].port;
            spread(&lab.client(), Target::tcp((vip, port)), 1).expect("traffic runs");
            let mac = lab.neighbour(vip).expect("ip answers");
            assert_eq!(mac.as_deref(), Some(&*right), "{vip}");
            for (node, count) in answered(&lab) {
                let more = count - before[&node];
                let is_owner = node == owner.number();
                assert_eq!(
                    more > 0,
                    is_owner,
                    "node{node} answered {more} times for {vip}"
                );
            }
        }
    }
}

/// What a node says of a VIP.
fn row(node: lb_tests::lab::Node<'_>, vip: IpAddr) -> Result<Value> {
    let rows = node.ask(&["vips", &vip.to_string()])?;
    let rows = rows.as_array().context("VIPs are a list")?;
    ensure!(rows.len() == 1, "one row: {rows:?}");
    Ok(rows[0].clone())
}

#[test]
fn vips_says_who_owns_and_why_others_do_not() {
    if !require::root("net") {
        return;
    }
    let mut lab = Lab::up(Spec::for_test("lbb").expect("programs are built")).expect("the lab");
    lab.wait_applied().expect("the agents know the endpoints");
    for vip in vips(&lab) {
        let owner = lab.wait_owner(vip, |_| true).expect("one owner");
        let (name, number) = (owner.name(), owner.number());
        let before = row(lab.node(1), vip).expect("a row");
        assert_eq!(before["owner"], *name);
        let next = before["next"]
            .as_str()
            .expect("somebody is next")
            .to_owned();
        lab.exclude_node(number, true);
        lab.write().expect("written");
        wait::until_ok(LIMIT, "the next in line owns", || {
            for node in lab.nodes() {
                let row = row(node, vip)?;
                ensure!(row["owner"] == *next, "{row}");
                let nodes = row["nodes"].as_array().context("nodes")?;
                let why = nodes.iter().find(|row| row["node"] == *name);
                let why = why.context("the node is listed")?;
                ensure!(why["why_not"] == "Excluded", "{why}");
            }
            Ok(())
        })
        .expect("the owner changes");
        lab.exclude_node(number, false);
        lab.write().expect("written");
        lab.wait_owner(vip, |node| node == number).expect("back");
    }
}

#[test]
fn a_vip_that_another_machine_has_is_not_announced_before_that_ends() {
    if !require::root("net") {
        return;
    }
    let mut lab = Lab::up(Spec::for_test("lbc").expect("programs are built")).expect("the lab");
    lab.wait_applied().expect("the agents know the endpoints");
    let new = address::vip(Wire::SameLink, 9);
    let client = lab.client();
    let uplink = UPLINK;
    client
        .ip(&format!(
            "addr add {}/32 dev {uplink}\naddr add {}/128 dev {uplink} nodad",
            new.v4, new.v6
        ))
        .expect("the client has the addresses");
    lab.manifests.services[0].vip = new;
    lab.write().expect("written");
    let problem = |vip: IpAddr| -> Result<()> {
        let mut told = Vec::new();
        for node in lab.nodes() {
            ensure!(!node.owns(vip)?, "{} answers for it", node.name());
            let status = node.ask(&["status"])?;
            let problems = status["problems"].as_array().context("problems")?;
            told.extend(
                problems
                    .iter()
                    .filter(|row| {
                        let text = row["text"].as_str().unwrap_or_default();
                        row["name"] == "VipClaimed" && text.contains(&format!("have {vip} of"))
                    })
                    .cloned(),
            );
        }
        ensure!(!told.is_empty(), "nobody says so");
        Ok(())
    };
    for vip in new.both() {
        wait::until_ok(LIMIT, "it is told who has the address", || problem(vip))
            .expect("it is not announced");
    }
    client
        .ip(&format!(
            "addr del {}/32 dev {uplink}\naddr del {}/128 dev {uplink}",
            new.v4, new.v6
        ))
        .expect("the client has them no more");
    for vip in new.both() {
        lab.wait_owner(vip, |_| true).expect("then it is");
    }
}
