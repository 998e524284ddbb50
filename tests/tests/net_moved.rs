//! The set of pods changes again and again while the VIPs' owner moves, under
//! 300 open connections: agents tell each other which flows are where, no
//! connection is reset or answered by another pod, and no packet is handed over
//! more than twice.

use std::time::Duration;

use lb_tests::hops::Hops;
use lb_tests::lab::address::PODS_PER_NODE_MAX;
use lb_tests::lab::manifests::Protocol;
use lb_tests::lab::{Endpoint, Lab, Node, Place, Spec, Wire};
use lb_tests::load::{Flooding, Load, Tally};
use lb_tests::{require, wait};

/// Of each family.
const CONNECTIONS: usize = 150;
const UDP_FLOWS: usize = 10;
/// After each change, every flow is answered this often: a second's worth.
const ANSWERS: u64 = 20;
/// Packets from invented addresses, of each kind, at least.
const FLOOD: u32 = 300_000;
const NODES: u8 = 4;
/// Between two agents that are told of a change.
const APART: Duration = Duration::from_secs(1);

struct Trial {
    lab: Lab,
    load: Load,
    hops: Hops,
    owner: u8,
}

impl Trial {
    /// `pods`: how many there are at first, of as many as there is room for;
    /// the others run, and are in no slice.
    fn start(prefix: &str, wire: Wire, pods: usize) -> Self {
        let mut spec = Spec::for_test(prefix).expect("programs are built");
        spec.wire = wire;
        Self::of(spec, pods)
    }

    fn of(mut spec: Spec, pods: usize) -> Self {
        spec.nodes = NODES;
        spec.pods = u16::from(NODES) * PODS_PER_NODE_MAX.min(3);
        let mut lab = Lab::up(spec).expect("the lab comes up");
        let places: Vec<Place> = lab.spec().pod_places().collect();
        for place in &places[pods..] {
            lab.set_endpoint(place.node, place.pod, Endpoint::Gone);
        }
        lab.write().expect("manifests are written");
        lab.wait_applied().expect("the agents know the endpoints");
        for node in lab.nodes() {
            wait_told(node);
        }
        let hops = Hops::start(&lab).expect("captures run");
        Self {
            load: Load::open(&lab, CONNECTIONS, UDP_FLOWS).expect("flows open"),
            lab,
            hops,
            owner: 1,
        }
    }

    /// The `index`th pod of all.
    fn place(&self, index: usize) -> Place {
        self.lab
            .spec()
            .pod_places()
            .nth(index)
            .expect("it is there")
    }

    /// Changes some pods at once, and goes on when the agents have followed.
    fn set(&mut self, pods: impl IntoIterator<Item = usize>, endpoint: Endpoint) {
        for index in pods {
            let place = self.place(index);
            self.lab.set_endpoint(place.node, place.pod, endpoint);
        }
        self.lab.write().expect("manifests are written");
        self.lab.wait_applied().expect("the agents follow");
        self.move_owner();
    }

    /// The same, but every agent is told a second after the one before, and the
    /// client's packets come to the one that has just been told. Until all know,
    /// a flow may have to wait.
    fn set_apart(&mut self, pods: impl IntoIterator<Item = usize>, endpoint: Endpoint) {
        for index in pods {
            let place = self.place(index);
            self.lab.set_endpoint(place.node, place.pod, endpoint);
        }
        for node in self.lab.spec().node_numbers() {
            self.lab.write_for(node).expect("manifests are written");
            self.lab.wait_applied_at(node).expect("the agent follows");
            self.lab.route_vips(node).expect("routed");
            wait::pass(APART);
        }
        self.check("all were told");
        self.move_owner();
    }

    /// The client's packets come to the next node.
    fn move_owner(&mut self) {
        let owner = self.owner % NODES + 1;
        self.send_to(owner);
    }

    fn send_to(&mut self, owner: u8) {
        self.owner = owner;
        self.lab.send_to(owner).expect("steered");
    }

    /// Every connection lives and was answered by one pod all the time.
    fn check(&self, change: &str) {
        let answered = self.load.wait_for_answers(ANSWERS);
        let flows = self.load.look().expect("traffic runs");
        let tcp = flows
            .iter()
            .filter(|flow| flow.target.protocol == Protocol::Tcp);
        let bad: Vec<_> = tcp
            .filter(|flow| flow.broken.is_some() || flow.moved + flow.masked > 0)
            .collect();
        assert!(
            bad.is_empty(),
            "after {change}, {} connections are not well, such as {:?}\n{}",
            bad.len(),
            bad[0],
            self.told()
        );
        if let Err(error) = answered {
            panic!("after {change}: {error:#}\n{}", self.told());
        }
    }

    /// What agents and programs say of themselves, for a failure's message.
    fn told(&self) -> String {
        let of_node = |node: Node<'_>| {
            let status = node.ask(&["status"]).unwrap_or_default();
            format!("{}  {}\n", node.counters(), status["channel"])
        };
        self.lab.nodes().map(of_node).collect()
    }

    fn end(self) {
        self.check("everything");
        let moved: u64 = self
            .lab
            .nodes()
            .map(|node| heard(node, "moved_heard"))
            .sum();
        assert!(moved > 0, "flows were moved at all");
        let flows = self.load.finish().expect("traffic ends");
        let tally = Tally::of(&flows);
        assert_eq!(tally.reset, 0, "{tally:?}");
        let arrivals = self.hops.arrivals().expect("captures are read");
        let most = arrivals.hand_overs().expect("packets were captured");
        assert!((1..=2).contains(&most), "{arrivals:?}");
        self.lab.down().expect("the lab goes down");
    }
}

fn heard(node: Node<'_>, what: &str) -> u64 {
    let status = node.ask(&["status"]).expect("the agent answers");
    status["channel"][what].as_u64().unwrap_or(0)
}

/// Until a node waits for no other, and every other speaks.
fn wait_told(node: Node<'_>) {
    let what = format!("the others have told {}", node.name());
    let told = wait::until_ok(Duration::from_secs(30), &what, || {
        let status = node.ask(&["status"])?;
        let channel = &status["channel"];
        let peers = channel["peers"].as_array().map_or(&[][..], Vec::as_slice);
        let speak = peers
            .iter()
            .filter(|peer| peer["state"] == "speaks")
            .count();
        anyhow::ensure!(
            speak == usize::from(NODES) - 1 && channel["awaiting"] == 0,
            "{channel}"
        );
        Ok(())
    });
    told.expect("agents talk to each other");
}

#[test]
fn agents_that_apply_changes_seconds_apart() {
    if !require::root("net") {
        return;
    }
    let mut spec = Spec::for_test("mvapart").expect("programs are built");
    (spec.wire, spec.apart) = (Wire::Routed, true);
    let mut trial = Trial::of(spec, 6);
    trial.set_apart([6, 7], Endpoint::Ready);
    trial.set_apart([0], Endpoint::Draining);
    trial.set_apart([8, 9, 10], Endpoint::Ready);
    trial.set_apart([1, 6], Endpoint::Draining);
    trial.check("all of these changes");
    trial.end();
}

/// Both wires for what every user does; the others on one of them, by turns.
fn two_pods_at_once(prefix: &str, wire: Wire) {
    let mut trial = Trial::start(prefix, wire, 3);
    trial.set(3..5, Endpoint::Ready);
    trial.check("two more pods at once");
    trial.set(5..7, Endpoint::Ready);
    trial.check("and two more");
    trial.move_owner();
    trial.check("a move of the owner");
    trial.end();
}

#[test]
fn two_pods_come_at_once_on_one_link() {
    if require::root("net") {
        two_pods_at_once("mvtwo", Wire::SameLink);
    }
}

#[test]
fn two_pods_come_at_once_behind_a_router() {
    if require::root("net") {
        two_pods_at_once("mvtwor", Wire::Routed);
    }
}

#[test]
fn eight_pods_become_ten_and_eight_again() {
    if !require::root("net") {
        return;
    }
    let mut trial = Trial::start("mvflap", Wire::Routed, 8);
    for turn in 0..3 {
        trial.set([8], Endpoint::Ready);
        trial.set([9], Endpoint::Ready);
        trial.check(&format!("ten pods, turn {turn}"));
        trial.set([8], Endpoint::Draining);
        trial.set([9], Endpoint::Draining);
        trial.check(&format!("eight pods, turn {turn}"));
    }
    trial.end();
}

#[test]
fn three_pods_become_twelve() {
    if !require::root("net") {
        return;
    }
    let mut trial = Trial::start("mvgrow", Wire::Routed, 3);
    for pod in 3..12 {
        trial.set([pod], Endpoint::Ready);
    }
    trial.check("nine more pods");
    trial.end();
}

#[test]
fn a_rolling_update_with_a_long_drain() {
    if !require::root("net") {
        return;
    }
    let mut trial = Trial::start("mvroll", Wire::Routed, 6);
    for pod in 0..6 {
        trial.set([6 + pod], Endpoint::Ready);
        trial.set([pod], Endpoint::Draining);
    }
    trial.check("every pod was replaced and drains");
    trial.end();
}

#[test]
fn a_new_node_with_new_pods_becomes_the_owner() {
    if !require::root("net") {
        return;
    }
    // Pods are dealt out in turn: the fourth is the first of the fourth node.
    let mut trial = Trial::start("mvnode", Wire::Routed, 3);
    let node = trial.lab.node(4);
    node.kill_agent().expect("killed");
    node.wipe_maps().expect("wiped");
    node.start_agent().expect("started");
    node.wait_ready().expect("ready");
    trial.set([3], Endpoint::Ready);
    trial.send_to(4);
    trial.check("a new node with a pod is the owner");
    trial.set([7], Endpoint::Ready);
    trial.send_to(4);
    trial.check("it has two pods");
    trial.end();
}

#[test]
fn readiness_flaps_in_a_flood() {
    if !require::root("net") {
        return;
    }
    let mut trial = Trial::start("mvflood", Wire::Routed, 6);
    let service = &trial.lab.manifests.services[0];
    let targets = service.vip.both().map(|vip| (vip, service.port).into());
    let flooding = Flooding::start(&trial.lab.client(), targets.to_vec(), FLOOD);
    for pod in 0..6 {
        trial.set([pod], Endpoint::NotReady);
        trial.set([pod], Endpoint::Ready);
    }
    trial.check("every pod was not ready once");
    flooding.finish().expect("the flood ends");
    trial.end();
}
