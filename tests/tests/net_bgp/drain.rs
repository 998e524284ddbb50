//! A node that is to be left alone: what the router hears, in which order, and
//! that neither connections nor flows of datagrams notice.

use anyhow::ensure;
use lb_tests::frames::Capture;
use lb_tests::frr::host_prefix;
use lb_tests::lab::Lab;
use lb_tests::load::{Load, Probes, Tally, Track};
use lb_tests::{require, wait};

use super::{CONNECTIONS, LIMIT, logs, probe_udp, spec, wait_next_hops};

const DRAINED: u8 = 3;
/// RFC 4271 section 4.1.
const MARKER: [u8; 16] = [0xff; 16];
const UPDATE: u8 = 2;
/// The attribute COMMUNITIES with GRACEFUL_SHUTDOWN alone (RFC 8326): type,
/// length, 65535:0.
const GRACEFUL_SHUTDOWN: [u8; 6] = [8, 4, 0xff, 0xff, 0, 0];

#[test]
fn a_drain_is_told_first_and_the_routes_go_then_and_no_connection_notices() {
    if !require::root("net") {
        return;
    }
    let mut lab = Lab::up(spec("bgpdrain")).expect("the lab comes up");
    wait_next_hops(&lab, &[1, 2, 3]);
    let load = Load::open(&lab, CONNECTIONS, 0).expect("flows open");
    let probes = probe_udp(&lab);
    load.wait_for_answers(4).expect("answers");
    // What agents that have just been started owe is not the drain's.
    wait::until(LIMIT, "all probes are answered", || {
        let tracks = probes.look().unwrap_or_default();
        !tracks.is_empty() && tracks.iter().all(Track::is_answered)
    })
    .expect("answers");
    let before = numbers(&probes);
    let (port, file) = (format!("node{DRAINED}"), lab.folder().join("drain.pcap"));
    let capture = Capture::start(&lab.router(), &port, &file).expect("tcpdump runs");

    lab.exclude_node(DRAINED, true);
    lab.write().expect("written");
    let frr = lab.frr();
    let vip = lab.vips()[0];
    let prefix = host_prefix(vip);
    let peer = lab.node(DRAINED).address_like(vip);
    let peer = format!("{peer} from {peer}");
    let route = || frr.ask(&format!("show bgp ipv4 unicast {prefix}"));
    wait::until_ok(LIMIT, "the router's table says that it goes", || {
        let route = route()?;
        ensure!(route.contains("graceful-shutdown"), "{route}");
        ensure!(route.contains(&peer), "{route}");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)));
    wait_next_hops(&lab, &[1, 2]);
    wait::until_ok(LIMIT, "its route is in the table no more", || {
        let route = route()?;
        ensure!(!route.contains(&peer), "{route}");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&lab)));
    load.wait_for_answers(10).expect("answers");
    let said = updates(&capture);
    let going = |update: &Vec<u8>| {
        let mut windows = update.windows(GRACEFUL_SHUTDOWN.len());
        windows.any(|bytes| bytes == GRACEFUL_SHUTDOWN)
    };
    let going = said.iter().position(going);
    // Length in octets of what is withdrawn, after the header.
    let gone = said.iter().position(|update| update[19..21] != [0, 0]);
    assert!(
        going.is_some() && going < gone,
        "{going:?}, {gone:?}: {said:02x?}"
    );

    lab.exclude_node(DRAINED, false);
    lab.write().expect("written");
    wait_next_hops(&lab, &[1, 2, 3]);
    load.wait_for_answers(10).expect("answers");
    wait::until(LIMIT, "all probes are answered again", || {
        let tracks = probes.look().unwrap_or_default();
        !tracks.is_empty() && tracks.iter().all(Track::is_answered)
    })
    .expect("answers");
    let tracks = probes.finish().expect("probes run");
    let lost: Vec<String> = (before.iter().zip(&tracks).enumerate())
        .map(|(flow, (before, track))| (flow, track.after(*before)))
        .filter(|(_, track)| track.lost() > 0)
        .map(|(flow, track)| {
            let (lost, sent) = (track.lost(), track.number());
            format!(
                "{lost} of {sent} of flow {flow} with {}, {:.1?}",
                track.pod,
                track.gap()
            )
        })
        .collect();
    let tally = Tally::of(load.finish().expect("traffic ends"));
    assert!(tally.is_clean(), "{tally:?}");
    assert!(lost.is_empty(), "datagrams without an answer: {lost:#?}");
    lab.down().expect("the lab goes");
}

fn numbers(probes: &Probes) -> Vec<usize> {
    let tracks = probes.look().expect("probes run");
    tracks.iter().map(Track::number).collect()
}

/// The UPDATEs that were on the wire, in order: those of IPv4.
fn updates(capture: &Capture) -> Vec<Vec<u8>> {
    let mut updates = Vec::new();
    for frame in capture.frames().expect("a capture") {
        let mut rest = &frame[..];
        while let Some(at) = rest.windows(MARKER.len()).position(|bytes| bytes == MARKER) {
            let message = &rest[at..];
            let [high, low, kind] = message[16..19] else {
                break;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(message) = message.get(..length.max(19)) else {
                break;
            };
            if kind == UPDATE {
                updates.push(message.to_vec());
            }
            rest = &rest[at + length.max(19)..];
        }
    }
    updates
}
