//! What anybody on the network can send to an agent's port: recorded, cut,
//! altered, sealed with another secret, or noise. It is dropped and counted by
//! reason, and changes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::{SlicedPacket, TransportSlice};
use lb_core::gossip::Beat;
use lb_core::jitter::Jitter;
use lb_core::model::NodeName;
use lb_core::seal::{Keys, Kind, NodeId, PAYLOAD_MAX, Seal};
use lb_tests::frames::Capture;
use lb_tests::lab::{Lab, Node, Spec};
use lb_tests::netns::Namespace;
use lb_tests::{require, wait};

const PORT: u16 = 6950;
const SECRET: &str = "a secret of this test";
const LIMIT: Duration = Duration::from_secs(60);
/// Few enough for the agent's socket to hold, should it be busy.
const AT_ONCE: usize = 50;
/// Whom it is all sent to.
const VICTIM: u8 = 2;

/// By reason.
type Counts = BTreeMap<String, u64>;

fn dropped(node: Node<'_>) -> Result<Counts> {
    let members = node.ask(&["members"])?;
    let counts = serde_json::from_value(members["dropped"].clone());
    counts.context("it counts by reason")
}

struct Net {
    lab: Lab,
    owners: Vec<(IpAddr, u8)>,
    pids: Vec<Option<u32>>,
    socket: UdpSocket,
    secret: PathBuf,
}

impl Drop for Net {
    fn drop(&mut self) {
        // It stays where temporary files are cleared.
        let _removed = std::fs::remove_file(&self.secret);
    }
}

impl Net {
    fn up() -> Result<Self> {
        let file = std::env::temp_dir().join(format!("corten-hostile-{}", std::process::id()));
        std::fs::write(&file, SECRET)?;
        let mut spec = Spec::for_test("hostile")?;
        spec.agent_arguments = vec![
            "--cluster-secret-file".to_owned(),
            file.display().to_string(),
        ];
        let lab = Lab::up(spec)?;
        lab.wait_applied()?;
        let socket = socket(&lab.client())?;
        let pids = lab.nodes().map(Node::agent_pid).collect();
        let mut net = Self {
            lab,
            owners: Vec::new(),
            pids,
            socket,
            secret: file,
        };
        net.wait_all_there()?;
        for vip in net.lab.vips() {
            let owner = net.lab.wait_owner(vip, |_| true)?.number();
            net.owners.push((vip, owner));
        }
        Ok(net)
    }

    fn victim(&self) -> Node<'_> {
        self.lab.node(VICTIM)
    }

    fn wait_all_there(&self) -> Result<()> {
        wait::until_ok(LIMIT, "all agents are there", || self.lab.are_all_there())
    }

    /// What agents have sent to the victim just now.
    fn recorded(&self) -> Result<Vec<Vec<u8>>> {
        const ENOUGH: usize = 100;
        let node = self.victim();
        let file = self.lab.folder().join("agents.pcap");
        let capture = Capture::start(&self.lab.switch(), &node.name(), &file)?;
        wait::until_ok(LIMIT, "agents talk", || {
            let frames = capture.frames()?;
            let here = frames.iter().filter_map(|frame| payload(frame, node));
            let here: Vec<_> = here.collect();
            ensure!(here.len() >= ENOUGH, "{} datagrams", here.len());
            Ok(here)
        })
    }

    /// By both families in turn.
    fn send(&self, to: Node<'_>, all: &[&[u8]]) -> Result<()> {
        for (number, datagram) in all.iter().enumerate() {
            let address = to.address().both()[number % 2];
            let to = mapped(SocketAddr::new(address, PORT));
            let sent = self.socket.send_to(datagram, to)?;
            ensure!(sent == datagram.len(), "it is sent whole");
        }
        Ok(())
    }

    /// Sends all, and waits until exactly these were dropped for the reasons that
    /// are meant.
    fn check(&self, what: &str, node: Node<'_>, sent: &[(Vec<u8>, &[&str])]) -> Result<()> {
        for some in sent.chunks(AT_ONCE) {
            let before = dropped(node)?;
            let datagrams: Vec<&[u8]> = some.iter().map(|(sent, _)| &sent[..]).collect();
            self.send(node, &datagrams)?;
            let mut meant: BTreeMap<&[&str], u64> = BTreeMap::new();
            for (_, reasons) in some {
                *meant.entry(reasons).or_default() += 1;
            }
            wait::until_ok(LIMIT, what, || {
                let after = dropped(node)?;
                for (reasons, count) in &meant {
                    let of = |counts: &Counts, reason: &&str| counts.get(*reason).copied();
                    let more =
                        |reason| of(&after, reason).unwrap_or(0) - of(&before, reason).unwrap_or(0);
                    let more: u64 = reasons.iter().map(more).sum();
                    ensure!(more == *count, "{more} of {count} {reasons:?}: {after:?}");
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Nobody owns anything else, nobody is given up, no agent has ended.
    fn check_unharmed(&self) -> Result<()> {
        self.wait_all_there()?;
        for (vip, owner) in &self.owners {
            self.lab.wait_owner(*vip, |node| node == *owner)?;
        }
        let pids: Vec<_> = self.lab.nodes().map(Node::agent_pid).collect();
        ensure!(pids == self.pids, "agents have ended: {pids:?}");
        Ok(())
    }
}

/// Of both families.
fn socket(namespace: &Namespace) -> Result<UdpSocket> {
    Ok(namespace.within(|| UdpSocket::bind("[::]:0"))??)
}

fn mapped(to: SocketAddr) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
        IpAddr::V6(_) => to,
    }
}

/// What a frame brings to the agent of a node.
fn payload(frame: &[u8], node: Node<'_>) -> Option<Vec<u8>> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let to: IpAddr = match packet.net? {
        etherparse::NetSlice::Ipv4(ip) => ip.header().destination_addr().into(),
        etherparse::NetSlice::Ipv6(ip) => ip.header().destination_addr().into(),
        etherparse::NetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Udp(udp)) = packet.transport else {
        return None;
    };
    let here = node.address().both().contains(&to) && udp.destination_port() == PORT;
    here.then(|| udp.payload().to_vec())
}

const REPEATED: &[&str] = &["replayed", "too_old", "old_boot"];
const ALTERED: &[&str] = &["altered"];
const OTHER_SECRET: &[&str] = &["other_secret"];
const TOO_SHORT: &[&str] = &["too_short"];
/// A header, a kind and a sender, and a tag.
const SHORTEST: usize = lb_core::seal::OVERHEAD;

/// One byte of each changed.
fn altered(datagram: &[u8]) -> Vec<(Vec<u8>, &'static [&'static str])> {
    let changed = (0..datagram.len()).map(|at| {
        let mut changed = datagram.to_vec();
        changed[at] ^= 1 << (at % 8);
        let why: &[&str] = match at {
            0 => &["version"],
            1..=4 => OTHER_SECRET,
            _ => ALTERED,
        };
        (changed, why)
    });
    changed.collect()
}

/// Each beginning of it.
fn cut(datagram: &[u8]) -> Vec<(Vec<u8>, &'static [&'static str])> {
    let cut = (0..datagram.len()).map(|length| {
        let why = if length < SHORTEST {
            TOO_SHORT
        } else {
            ALTERED
        };
        (datagram[..length].to_vec(), why)
    });
    cut.collect()
}

/// As an agent of that name would seal it.
fn sealed(by: &str, secret: &str, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let (by, to) = (NodeName::new(by), NodeName::new(&format!("node{VICTIM}")));
    let mut seal = Seal::new(Keys::of(&[secret.into()]), &by, 77);
    seal.set_peers(&[NodeId::of(&to)].into());
    seal.seal(kind, NodeId::of(&to), payload).expect("it fits")
}

/// By who has another secret, is no node, or has the secret and was not answered
/// yet.
fn invented() -> Vec<(Vec<u8>, &'static [&'static str])> {
    let beat = Beat {
        leaving: true,
        ..Beat::default()
    };
    let mut all = Vec::new();
    for kind in [Kind::Gossip, Kind::Channel, Kind::Fence] {
        let says = |by, secret| sealed(by, secret, kind, &beat.encode());
        all.push((says("node1", "another"), OTHER_SECRET));
        all.push((says("stranger", SECRET), &["unknown_sender"]));
        if kind != Kind::Gossip {
            all.push((says("node1", SECRET), &["unconfirmed"]));
        }
    }
    let nonsense = sealed("node1", SECRET, Kind::Gossip, b"no beat");
    all.push((nonsense, &["malformed"]));
    all
}

/// Bytes of all lengths. They are too short, or say a version, or are sealed by
/// nobody; and one that is too long.
fn noise() -> Vec<(Vec<u8>, &'static [&'static str])> {
    let mut random = Jitter::new(7);
    let mut any = |length: usize| -> Vec<u8> {
        let bytes = std::iter::from_fn(|| Some(random.number().to_be_bytes()));
        bytes.flatten().take(length).collect()
    };
    let lengths = (0..PAYLOAD_MAX).step_by(3);
    let mut all: Vec<(Vec<u8>, &[&str])> = lengths
        .map(|length| (any(length), &["too_short", "version", "other_secret"][..]))
        .collect();
    all.push((any(PAYLOAD_MAX + SHORTEST + 1), &["too_long"]));
    all
}

#[test]
fn hostile_datagrams_are_dropped_and_counted_and_change_nothing() {
    if !require::root("net") {
        return;
    }
    let mut net = Net::up().expect("the lab comes up");
    let recorded = net.recorded().expect("agents talk");
    let again = |why: &'static [&'static str]| {
        let all = recorded.iter().map(|datagram| (datagram.clone(), why));
        all.collect::<Vec<_>>()
    };
    let longest = recorded.iter().max_by_key(|datagram| datagram.len());
    let longest = longest.expect("some were recorded");
    let victim = net.victim();
    let checks = [
        ("what was there before", victim, again(REPEATED)),
        ("what was for another", net.lab.node(3), again(ALTERED)),
        ("what is cut short", victim, cut(longest)),
        ("what is altered", victim, altered(longest)),
        ("what somebody else says", victim, invented()),
        ("noise", victim, noise()),
    ];
    for (what, node, sent) in checks {
        println!("{}: {} datagrams of {what}", node.name(), sent.len());
        net.check(what, node, &sent).expect("they are counted");
        net.check_unharmed().expect("nothing has changed");
    }
    // While another process begins, which has heard nobody yet.
    let node = net.lab.node(VICTIM);
    node.kill_agent().expect("it is killed");
    node.start_agent().expect("it starts");
    net.pids = net.lab.nodes().map(Node::agent_pid).collect();
    let ready = || {
        net.lab
            .node(VICTIM)
            .ask(&["status"])
            .is_ok_and(|s| s["ready"] == true)
    };
    let all: Vec<&[u8]> = recorded.iter().map(Vec::as_slice).collect();
    wait::until_ok(LIMIT, "the agent is ready", || {
        net.send(net.victim(), &all)?;
        ensure!(ready(), "not yet");
        Ok(())
    })
    .expect("in time");
    net.check_unharmed().expect("nothing has changed");
}
