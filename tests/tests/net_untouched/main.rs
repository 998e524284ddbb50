//! What is not for a VIP is untouched: frames of all kinds, between the client,
//! nodes and pods, are the same bytes at both ends with the data plane and
//! without it.
//!
//! The frames are scripted, to the last byte, and sent as they are. Each
//! carries a tag with its number, so that nothing else is compared.

mod place;
mod script;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_common::LAYOUT_VERSION;
use lb_tests::command::run;
use lb_tests::frames::{Capture, Sender};
use lb_tests::lab::{Lab, Node, Spec, UPLINK, Wire};
use lb_tests::load::spread;
use lb_tests::{require, wait};
use serde_json::Value;

use crate::place::Place;
use crate::script::{Script, number_of};

const LIMIT: Duration = Duration::from_secs(30);
/// Of the links: several memory pages, so that programs see frames in parts.
const JUMBO: u16 = 9000;
const NEW_FLOWS: u32 = 100;

/// What machines answer to frames that nobody awaits: it quotes them, and when
/// it comes is chance.
const NO_ANSWERS: &str = "table inet quiet {
    chain output {
        type filter hook output priority 0
        icmp type { echo-reply, destination-unreachable, redirect, time-exceeded, parameter-problem } drop
        icmpv6 type { echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem } drop
        tcp flags & rst == rst drop
    }
}
";

/// What was seen of each number at each place.
type Seen = BTreeMap<(Place, usize), Vec<Vec<u8>>>;

struct Trial {
    lab: Lab,
    script: Script,
    senders: BTreeMap<Place, Sender>,
}

impl Trial {
    /// The lab as it is before Corten comes.
    fn start(prefix: &str, wire: Wire) -> Self {
        let mut spec = Spec::for_test(prefix).expect("programs are built");
        spec.wire = wire;
        spec.mtu = JUMBO;
        let lab = Lab::up(spec).expect("the lab comes up");
        for node in lab.nodes() {
            node.stop_agent().expect("stopped");
            node.wipe_maps().expect("wiped");
            wait_programs(node, &[]);
        }
        let places = place::all(&lab);
        for namespace in lab.namespaces().expect("listed") {
            let mut nft = namespace.command("nft");
            lb_tests::command::feed(nft.args(["-f", "-"]), NO_ANSWERS).expect("nft takes it");
        }
        place::add_vxlan(&lab).expect("devices are made");
        let open = |place: &Place| {
            let sender = Sender::open(&place.namespace(&lab), place.interface());
            (*place, sender.expect("a device"))
        };
        let senders: BTreeMap<Place, Sender> = places.iter().map(open).collect();
        let script = script::write(&lab, &|place| senders[&place].mac());
        Self {
            lab,
            script,
            senders,
        }
    }

    /// Sends all of it, and gives what was seen where.
    fn play(&self, name: &str) -> Seen {
        let folder = self.lab.folder().join(format!("captures-{name}"));
        std::fs::create_dir_all(&folder).expect("made");
        let capture = |place: &Place| {
            let file = folder.join(format!("{place:?}.pcap"));
            let capture = Capture::start(&place.namespace(&self.lab), place.interface(), &file);
            (*place, capture.expect("tcpdump runs"))
        };
        let captures: BTreeMap<Place, Capture> = self.senders.keys().map(capture).collect();
        for foreign in &self.script.all {
            for frame in &foreign.frames {
                let sent = self.senders[&foreign.path[0]].send(frame);
                sent.unwrap_or_else(|error| panic!("{}: {error:#}", foreign.what));
            }
        }
        let seen = wait::until_ok(LIMIT, "every frame was seen where it is to be", || {
            let seen = self.seen(&captures)?;
            self.ensure_whole(&seen)?;
            Ok(seen)
        });
        seen.unwrap_or_else(|error| panic!("{name}: {error:#}"))
    }

    /// Those of the captured frames that are ours. What is around a frame in
    /// the kernel's VXLAN has numbers of the kernel's choice.
    fn seen(&self, captures: &BTreeMap<Place, Capture>) -> Result<Seen> {
        let mut seen = Seen::new();
        for (place, capture) in captures {
            for frame in capture.frames()? {
                let Some(number) = number_of(&frame) else {
                    continue;
                };
                if place.is_vxlan() || !self.script.all[number].path[0].is_vxlan() {
                    seen.entry((*place, number)).or_default().push(frame);
                }
            }
        }
        Ok(seen)
    }

    fn ensure_whole(&self, seen: &Seen) -> Result<()> {
        for (number, foreign) in self.script.all.iter().enumerate() {
            for place in &foreign.path {
                let count = seen.get(&(*place, number)).map_or(0, Vec::len);
                ensure!(
                    count >= foreign.frames.len(),
                    "{}, {} frames: {count} of them at {place:?}",
                    foreign.what,
                    foreign.frames.len()
                );
            }
        }
        Ok(())
    }

    /// Where no router was in between, frames are as they were sent.
    fn check_sent(&self, seen: &Seen) {
        for (number, foreign) in self.script.all.iter().enumerate() {
            for place in &foreign.path[..foreign.unrouted] {
                assert_eq!(
                    seen[&(*place, number)],
                    foreign.frames,
                    "{} at {place:?}",
                    foreign.what
                );
            }
        }
    }

    fn check_same(&self, name: &str, before: &Seen, after: &Seen) {
        let what = |number: usize| &self.script.all[number].what;
        for ((place, number), frames) in before {
            let now = after.get(&(*place, *number));
            let now = now.map_or(&[][..], Vec::as_slice);
            let what = what(*number);
            assert_eq!(now, frames, "{name}: {what} at {place:?}");
        }
        for (place, number) in after.keys() {
            let known = before.contains_key(&(*place, *number));
            assert!(known, "{name}: {} came to {place:?}", what(*number));
        }
    }

    /// All nodes have programs, and there are flows through all VIPs.
    fn use_vips(&self) {
        for target in self.lab.targets() {
            let spread = spread(&self.lab.client(), target, NEW_FLOWS).expect("traffic runs");
            assert_eq!(
                (spread.lost, spread.by_pod.len()),
                (0, 3),
                "{target:?}: {spread:?}"
            );
        }
    }

    /// Plays the script with agents, and compares with what was before.
    fn check_with(&self, name: &str, before: &Seen, expected: &[&str]) {
        for node in self.lab.nodes() {
            wait_programs(node, expected);
            wait_seasoned(node);
        }
        self.use_vips();
        let counted: Vec<_> = self.lab.nodes().map(untouched).collect();
        let after = self.play(name);
        for (node, before) in self.lab.nodes().zip(counted) {
            let now = untouched(node);
            for ((what, now), before) in ["in", "out"].iter().zip(now).zip(before) {
                let least = self.script.through(node.number(), *what == "in");
                let counted = now - before;
                assert!(
                    counted >= least,
                    "{name}: {counted} of {least} frames {what} at {}",
                    node.name()
                );
            }
        }
        self.check_sent(&after);
        self.check_same(name, before, &after);
    }
}

/// The kernel lets go of what is unpinned a moment later.
fn wait_programs(node: Node<'_>, expected: &[&str]) {
    let what = format!("{} has programs at {expected:?}", node.name());
    wait::until_ok(LIMIT, &what, || {
        let programs = programs(node);
        ensure!(programs == expected, "it has {programs:?}");
        Ok(())
    })
    .expect("attached or gone");
}

/// While tables are fresh, what a pod sends in a connection that its node does
/// not know waits (`reply_too_early`): it may be one whose entry was lost.
fn wait_seasoned(node: Node<'_>) {
    let config = node.bpffs().join(format!("v{LAYOUT_VERSION}/CONFIG"));
    let config = config.to_string_lossy().into_owned();
    let what = format!("the tables of {} are fresh no longer", node.name());
    wait::until_ok(LIMIT, &what, || {
        let dump = run("bpftool", &["--json", "map", "dump", "pinned", &config])?;
        let dump: Value = serde_json::from_str(&dump)?;
        let until = dump[0]["formatted"]["value"]["fresh_until_s"].as_u64();
        let until = until.with_context(|| format!("no such field: {dump}"))?;
        // Since boot, as the programs reckon.
        let uptime = std::fs::read_to_string("/proc/uptime")?;
        let now: f64 = uptime.split(' ').next().unwrap_or_default().parse()?;
        ensure!(
            Duration::from_secs_f64(now) > Duration::from_secs(until),
            "until {until} s, and it is {now} s"
        );
        Ok(())
    })
    .expect("it ends");
}

/// What the node's programs have left alone so far, coming in and going out.
fn untouched(node: Node<'_>) -> [u64; 2] {
    let coming = ["not_for_us", "not_ip", "other_mac", "arp_not_for_us"];
    let count = |reason| node.counter(reason).expect("counted");
    [coming.map(count).iter().sum(), count("egress_untouched")]
}

/// The hooks at which the node has programs: by the links that are pinned, and
/// by what `ip` says of its uplink.
fn programs(node: Node<'_>) -> Vec<String> {
    let layouts = std::fs::read_dir(node.bpffs()).expect("a bpffs");
    let links = layouts.filter_map(|layout| {
        let links = layout.expect("readable").path().join("links");
        std::fs::read_dir(links).ok()
    });
    let hook = |link: std::io::Result<std::fs::DirEntry>| {
        let name = link.expect("readable").file_name();
        let name = name.to_string_lossy();
        name.split('-').next().unwrap_or_default().to_owned()
    };
    let mut hooks: Vec<String> = links.flatten().map(hook).collect();
    let devices = node.namespace().run("ip", &["link", "show", "dev", UPLINK]);
    if devices.expect("ip runs").contains("prog/xdp") {
        hooks.push("xdp".to_owned());
    }
    hooks.sort();
    hooks
}

fn check(prefix: &str, wire: Wire) {
    if !require::root("net") {
        return;
    }
    let mut trial = Trial::start(prefix, wire);
    let before = trial.play("without");
    trial.check_sent(&before);
    for node in trial.lab.nodes() {
        node.start_agent().expect("started");
    }
    for node in trial.lab.nodes() {
        node.wait_ready().expect("ready");
    }
    trial
        .lab
        .wait_applied()
        .expect("the agents know the endpoints");
    trial.check_with("stack", &before, &["egress", "ingress", "xdp"]);
    for service in &mut trial.lab.manifests.services {
        service
            .annotations
            .push("corten.dev/delivery: direct".to_owned());
    }
    trial.lab.write().expect("manifests are written");
    let all = ["deliver", "egress", "ingress", "return", "xdp"];
    trial.check_with("direct", &before, &all);
    trial.lab.down().expect("the lab goes down");
}

#[test]
fn on_one_link() {
    check("untone", Wire::SameLink);
}

#[test]
fn behind_a_router() {
    check("untrouted", Wire::Routed);
}
