//! A router that learns by BGP where the VIPs are, FRR: it has one next hop a
//! node, and no connection is lost when agents restart or a node is drained.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::frr::{Frr, family_of};
use lb_tests::lab::{Lab, Node, Spec, Wire};
use lb_tests::load::{Load, Tally, Target, spread};
use lb_tests::{require, wait};

const LIMIT: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 100;

fn spec(prefix: &str) -> Spec {
    let mut spec = Spec::for_test(prefix).expect("programs are built");
    spec.wire = Wire::Routed;
    spec.bgp = true;
    spec
}

fn prefix(vip: IpAddr) -> String {
    let length = if vip.is_ipv4() { 32 } else { 128 };
    format!("{vip}/{length}")
}

fn address(node: Node<'_>, vip: IpAddr) -> String {
    match vip {
        IpAddr::V4(_) => node.address().v4.to_string(),
        IpAddr::V6(_) => node.address().v6.to_string(),
    }
}

/// Waits until the router's way to every VIP is by exactly these nodes.
fn wait_next_hops(lab: &Lab, nodes: &[u8]) {
    let frr = lab.frr();
    for vip in lab.vips() {
        let prefix = prefix(vip);
        let mut expected: Vec<_> = nodes.iter().map(|n| address(lab.node(*n), vip)).collect();
        expected.sort();
        let what = format!("{prefix} is by the nodes {nodes:?}");
        let waited = wait::until_ok(LIMIT, &what, || {
            let hops = next_hops(&frr, vip)?;
            ensure!(hops == expected, "it is by {hops:?}");
            Ok(())
        });
        if let Err(error) = waited {
            let (_, family) = family_of(&prefix);
            let summary = frr.ask(&format!("show bgp {family} summary"));
            panic!("{error:#}\n{}\n{}", summary.unwrap_or_default(), logs(lab));
        }
    }
}

/// Those that the router installed. IPv6 next hops are link-local there, so
/// what BGP knows is asked.
fn next_hops(frr: &Frr, vip: IpAddr) -> Result<Vec<String>> {
    if vip.is_ipv4() {
        return frr.next_hops(&prefix(vip));
    }
    let route = frr.json(&format!("show bgp ipv6 unicast {}", prefix(vip)))?;
    let paths = route["paths"].as_array().cloned().unwrap_or_default();
    let paths = paths
        .iter()
        .filter(|path| path["multipath"] == true || path["bestpath"]["overall"] == true);
    let hops = paths.filter_map(|path| {
        let hops = path["nexthops"].as_array()?.iter();
        let global = hops.clone().find(|hop| hop["scope"] == "global");
        global.or_else(|| hops.clone().next())?["ip"]
            .as_str()
            .map(str::to_owned)
    });
    let mut hops: Vec<String> = hops.collect();
    hops.sort();
    Ok(hops)
}

fn logs(lab: &Lab) -> String {
    lab.nodes()
        .map(|node| {
            let routers = node.ask(&["bgp"]).unwrap_or_default();
            let log = std::fs::read_to_string(node.agent_log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(10).collect();
            format!("{}: {routers}\n{}\n", node.name(), lines.join("\n"))
        })
        .collect()
}

fn assert_clean(load: &Load, what: &str) {
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
        let peer = address(node, vip);
        wait::until_ok(LIMIT, "the router sees that the session is gone", || {
            let neighbor = frr.json(&format!("show bgp neighbors {peer}"))?;
            ensure!(neighbor[&peer]["bgpState"] != "Established", "{neighbor}");
            Ok(())
        })
        .expect("it does");
        let hops = next_hops(&frr, vip).expect("FRR answers");
        assert_eq!(hops.len(), 3, "crash: {crash}: {hops:?}");
        node.start_agent().expect("started");
        node.wait_ready().expect("ready");
        wait::until_ok(LIMIT, "the session is there again", || {
            let neighbor = frr.json(&format!("show bgp neighbors {peer}"))?;
            ensure!(neighbor[&peer]["bgpState"] == "Established", "{neighbor}");
            let hops = next_hops(&frr, vip)?;
            ensure!(hops.len() == 3, "{hops:?}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)));
        assert_clean(&load, if crash { "a crash" } else { "a restart" });
    }

    // A node that is drained says so, and then its way is gone.
    lab.exclude_node(3, true);
    lab.write().expect("written");
    let vip = prefix(lab.vips()[0]);
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

/// Passwords: the right one, another, none where the router wants one.
#[test]
fn a_session_with_a_password_needs_the_same_one() {
    if !require::root("net") {
        return;
    }
    let mut spec = spec("bgpmd5");
    spec.nodes = 1;
    spec.pods = 1;
    let mut lab = Lab::up(spec).expect("the lab comes up");
    wait_next_hops(&lab, &[1]);
    let frr = lab.frr();
    let peer = lab.node(1).address().v4.to_string();
    let neighbor = format!("neighbor {peer} password right");
    frr.commands(&["configure terminal", "router bgp 64512", &neighbor])
        .expect("configured");
    let state = |expected: &str| {
        wait::until_ok(
            LIMIT,
            &format!("the router's session is {expected}"),
            || {
                let rows = lab.node(1).ask(&["bgp", "router-node1-ipv4"])?;
                let router = &rows["routers"][0];
                let up = router["established"] == true;
                ensure!(up == (expected == "there"), "{router}");
                Ok(router["last_error"]["text"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned())
            },
        )
        .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)))
    };
    state("gone");
    let plain = lab.manifests.more["bgp.yaml"].clone();
    let with = |password: &str| {
        let line = format!("  enableGracefulRestart: true\n  password: {password}\n");
        plain.replacen("  enableGracefulRestart: true\n", &line, 1)
    };
    let write = |lab: &Lab, text: String| {
        let file = lab.manifest_folder().join("bgp.yaml");
        let new = lab.folder().join("bgp.yaml.new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, file).expect("renamed");
    };
    write(&lab, with("right"));
    state("there");
    write(&lab, with("wrong"));
    state("gone");
    wait::until_ok(LIMIT, "the reason is said", || {
        let rows = lab.node(1).ask(&["bgp", "router-node1-ipv4"])?;
        let text = rows["routers"][0]["last_error"]["text"].to_string();
        ensure!(text.contains("another password"), "{text}");
        Ok(())
    })
    .expect("a reason");
    lab.manifests.more.clear();
    lab.down().expect("the lab goes");
}
