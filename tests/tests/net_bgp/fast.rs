//! BFD with a packet every 10 ms, over one hop and over several, while the
//! agent has much else to do.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use lb_tests::bench::bgp::{services, wait_vips};
use lb_tests::frames::Capture;
use lb_tests::frr::Frr;
use lb_tests::lab::address::client_gateway;
use lb_tests::{require, wait};
use serde_json::Value;

use super::one_node::{NODE_ASN, OneNode, PeerObject, ROUTER_ASN};
use super::{LIMIT, logs};

/// RFC 5881, RFC 5883.
const PORTS: [u16; 2] = [3784, 4784];
const ETHERNET: usize = 14;
/// Packets of each session meanwhile: some 12 s of them.
const MANY: u64 = 1200;
/// Services that come and go meanwhile.
const SERVICES: u16 = 100;

/// Addresses of one side: of the session over one hop, and of the other.
type Ends = (Ipv4Addr, Ipv6Addr);

fn config(net: &OneNode) -> String {
    let node = net.ends().0;
    let far = client_gateway().address.v6;
    format!(
        "frr defaults traditional
bfd
 profile fastest
  receive-interval 10
  transmit-interval 10
  detect-multiplier 100
router bgp {ROUTER_ASN}
 bgp router-id 192.0.2.254
 no bgp ebgp-requires-policy
 neighbor {v4} remote-as {NODE_ASN}
 neighbor {v4} bfd profile fastest
 neighbor {v6} remote-as {NODE_ASN}
 neighbor {v6} ebgp-multihop 2
 neighbor {v6} update-source {far}
 no neighbor {v6} activate
 neighbor {v6} bfd profile fastest
 address-family ipv6 unicast
  neighbor {v6} activate
 exit-address-family
",
        v4 = node.v4,
        v6 = node.v6
    )
}

/// A second of silence would be a failure: a machine that has other work as well
/// may hold a packet of FRR's or ours up for longer than three intervals, which
/// is not what is looked at here.
#[test]
fn sessions_of_ten_milliseconds_stay_up_while_services_come_and_go() {
    if !require::root("net") {
        return;
    }
    let net = OneNode::up("bgpfast", &[]);
    let (frr, node) = (net.lab.frr(), net.lab.node(1));
    frr.start(&config(&net)).expect("FRR runs");
    let (mine, its) = (
        format!("myASN: {NODE_ASN}"),
        format!("peerASN: {ROUTER_ASN}"),
    );
    let common = [&mine as &str, &its, "bfdProfile: fastest"];
    // Of an address that is on no link of the node's.
    let behind = [&common[..], &["ebgpMultiHop: true"]].concat();
    let peers = [
        PeerObject::new("far", client_gateway().address.v6, &behind),
        PeerObject::new("near", net.ends().1.v4, &common),
    ];
    net.configure(&peers, &[]);
    node.wait_sessions(2, 10)
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", logs(&net.lab), bfd(&frr)));
    let before = node.routers().expect("the agent answers");
    let hops = |row: &Value| row["bfd"]["multihop"].as_bool();
    let hops: Vec<_> = before.iter().map(hops).collect();
    assert_eq!(hops, [Some(true), Some(false)], "{before:?}");
    let downs_there = downs(&frr);

    let file = net.lab.folder().join("bfd.pcap");
    let capture = Capture::start(&net.lab.router(), "node1", &file).expect("tcpdump runs");
    let mut rounds = 0;
    let waited = wait::until_ok(LIMIT * 6, "many packets were sent and received", || {
        rounds += 1;
        let count = SERVICES - rounds % 2;
        net.lab.write_file("many.yaml", &services(count))?;
        wait_vips(&net.lab, count)?;
        let rows = node.routers()?;
        for (row, before) in rows.iter().zip(&before) {
            for what in ["received", "sent"] {
                let number = |row: &Value| row["bfd"][what].as_u64().unwrap_or_default();
                ensure!(number(row) > number(before) + MANY, "{what}: {row}");
            }
        }
        Ok(rows)
    });
    println!(
        "{rounds} times {SERVICES} Services were others; packets of BFD every 10 ms, on the wire:"
    );
    let (here, there) = net.ends();
    let ends = [
        ("the node", (here.v4, here.v6)),
        ("the router", (there.v4, client_gateway().address.v6)),
    ];
    for (who, end) in ends {
        let [(near, apart), (far, apart_far)] = PORTS.map(|port| gap(&capture, end, port));
        println!(
            "{who}'s: {apart:.1?} apart at most over one hop ({near} of them), {apart_far:.1?} \
             over several ({far})"
        );
    }
    let after = waited.unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&net.lab)));
    for (after, before) in after.iter().zip(&before) {
        assert_eq!(after["bfd"]["downs"], before["bfd"]["downs"], "{after}");
        assert_eq!(after["flaps"], before["flaps"], "{after}");
    }
    assert_eq!(downs(&frr), downs_there, "{}", bfd(&frr));
    net.lab.down().expect("the lab goes");
}

fn bfd(frr: &Frr) -> String {
    frr.ask("show bfd peers").unwrap_or_default()
}

/// How often the router has missed the node, by session.
fn downs(frr: &Frr) -> Vec<u64> {
    let counters = frr.json("show bfd peers counters").expect("FRR answers");
    let rows = counters.as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let downs = rows.iter().filter_map(|row| row["session-down"].as_u64());
    downs.collect()
}

/// How many packets one end sent to a port, and the longest time between two.
fn gap(capture: &Capture, end: Ends, port: u16) -> (usize, Duration) {
    let frames = capture.timed_frames().expect("a capture");
    let times = frames
        .into_iter()
        .filter(|(_, frame)| is_from(frame, end, port));
    let times: Vec<SystemTime> = times.map(|(at, _)| at).collect();
    let apart = times.windows(2);
    let apart = apart.filter_map(|pair| pair[1].duration_since(pair[0]).ok());
    (times.len(), apart.max().unwrap_or_default())
}

fn is_from(frame: &[u8], (near, far): Ends, port: u16) -> bool {
    let (source, udp) = match frame.get(12..14) {
        Some([0x08, 0x00]) => (ETHERNET + 12..ETHERNET + 16, ETHERNET + 20),
        Some([0x86, 0xdd]) => (ETHERNET + 8..ETHERNET + 24, ETHERNET + 40),
        _ => return false,
    };
    let source = frame.get(source);
    let from = source == Some(&near.octets()[..]) || source == Some(&far.octets()[..]);
    from && frame.get(udp + 2..udp + 4) == Some(&port.to_be_bytes())
}
