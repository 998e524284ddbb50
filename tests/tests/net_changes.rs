//! 200 open TCP connections with traffic, and UDP flows, while one thing
//! after the other changes: nothing is reset, lost, or answered by another
//! pod, apart from flows of a pod that is gone, and a datagram now and then.

use std::net::IpAddr;
use std::time::Duration;

use lb_tests::command::feed;
use lb_tests::lab::address::pod_subnets;
use lb_tests::lab::manifests::Protocol;
use lb_tests::lab::{Endpoint, Lab, Spec, Wire};
use lb_tests::load::{Flooding, Flow, Load, Tally, spread};
use lb_tests::netns::Namespace;
use lb_tests::{require, wait};

/// Of each family.
const CONNECTIONS: usize = 100;
const UDP_FLOWS: usize = 10;
/// After each change, every flow is answered this often.
const ANSWERS: u64 = 6;
const NEW_FLOWS: u32 = 150;
/// Packets from invented addresses, of each kind, at least.
const FLOOD: u32 = 1_000_000;

/// UDP flows that may have missed one answer.
const MISSED_MOST: usize = 2;

/// For what takes some retransmissions.
const PATIENCE: Duration = Duration::from_secs(10);

struct Trial {
    lab: Lab,
    load: Load,
    /// What is known to be lost, since its pod is gone.
    gone: Vec<String>,
    /// Stalls and lost datagrams of each flow that are not counted.
    forgiven: Vec<[u64; 2]>,
    /// Whether links may be full, and drop what UDP does not send again.
    crowded: bool,
}

impl Trial {
    fn start(spec: Spec, prepare: impl FnOnce(&mut Lab)) -> Self {
        let mut lab = Lab::up(spec).expect("the lab comes up");
        prepare(&mut lab);
        lab.write().expect("manifests are written");
        lab.wait_applied().expect("the agents know the endpoints");
        Self {
            load: flows(&lab),
            lab,
            gone: Vec::new(),
            forgiven: Vec::new(),
            crowded: false,
        }
    }

    /// Goes on with new flows: one change of the set of pods at a time.
    fn open_anew(&mut self) {
        let old = std::mem::replace(&mut self.load, flows(&self.lab));
        old.finish().expect("traffic ends");
        self.gone.clear();
        self.forgiven.clear();
    }

    /// All flows, without what they are forgiven.
    fn look(&self) -> Vec<Flow> {
        let mut flows = self.load.look().expect("traffic runs");
        for (flow, [stalled, lost]) in flows.iter_mut().zip(&self.forgiven) {
            flow.stalled -= stalled;
            flow.lost -= lost;
        }
        if self.crowded {
            flows.iter_mut().for_each(|flow| flow.lost = 0);
        }
        flows
    }

    /// Every flow lives, and is answered as before, by the same pod.
    fn check(&self, change: &str) {
        self.check_promised(change);
        let tally = Tally::of(self.look());
        assert_eq!(tally.udp_moved, 0, "after {change}: {tally:?}");
    }

    /// As [`Self::check`], for after the set of pods that take new flows has
    /// changed: nodes see that one after the other, and in between a UDP flow
    /// may look new to one of them.
    fn check_promised(&self, change: &str) {
        let answered = self.load.wait_for_answers(ANSWERS);
        let flows = self.look();
        let bad = flows.iter().filter(|flow| !self.is_fine(flow));
        // Best effort: programs that are attached anew, and nodes that know a
        // change one after the other, may cost a datagram now and then.
        let (bad, missed): (Vec<_>, Vec<_>) = bad.partition(|flow| {
            let missed = flow.target.protocol == Protocol::Udp && flow.lost == 1;
            !missed || flow.stalled + flow.masked > 0 || flow.broken.is_some()
        });
        assert!(
            bad.is_empty() && missed.len() <= MISSED_MOST,
            "after {change}, {} of {} flows are not well, such as {:?}\n{}",
            bad.len() + missed.len(),
            flows.len(),
            bad.first().or(missed.first()),
            self.lab.counters()
        );
        if let Err(error) = answered {
            panic!("after {change}: {error:#}\n{}", self.lab.counters());
        }
    }

    fn is_fine(&self, flow: &Flow) -> bool {
        self.gone.contains(&flow.pod) || Tally::of([flow]).is_clean()
    }

    /// New flows of all services reach these pods and no others.
    fn check_new(&self, pods: &[&str]) {
        for target in self.lab.targets() {
            let spread = spread(&self.lab.client(), target, NEW_FLOWS).expect("traffic runs");
            let reached: Vec<&str> = spread.by_pod.keys().map(String::as_str).collect();
            assert_eq!(reached, pods, "{target:?}: {spread:?}");
            assert_eq!(
                (spread.lost, spread.masked),
                (0, 0),
                "{target:?}: {spread:?}"
            );
        }
    }

    fn set(&mut self, node: u8, pod: u16, endpoint: Endpoint) {
        self.lab.set_endpoint(node, pod, endpoint);
        self.lab.write().expect("manifests are written");
        self.lab.wait_applied().expect("the agents follow");
    }

    /// Once all are answered again: what they lost and waited until now.
    fn forgive(&mut self) {
        let answered = self.load.wait_for_answers(1);
        answered.unwrap_or_else(|error| panic!("{error:#}\n{}", self.lab.counters()));
        let flows = self.load.look().expect("traffic runs");
        self.forgiven = flows.iter().map(|flow| [flow.stalled, flow.lost]).collect();
    }

    /// Takes away all that a node's programs knew, and starts its agent afresh.
    /// In between nothing forwards there: what its pods lost then is forgiven.
    fn start_empty(&mut self, node: u8) {
        let node = self.lab.node(node);
        node.kill_agent().expect("killed");
        node.wipe_maps().expect("wiped");
        node.start_agent().expect("started");
        node.wait_ready().expect("ready");
        self.forgive();
    }

    fn end(self) {
        self.check_promised("everything");
        self.load.finish().expect("traffic ends");
        self.lab.down().expect("the lab goes down");
    }
}

fn flows(lab: &Lab) -> Load {
    Load::open(lab, CONNECTIONS, UDP_FLOWS).expect("flows open")
}

/// Four nodes, the last without a pod.
fn spec(prefix: &str, wire: Wire) -> Spec {
    let mut spec = Spec::for_test(prefix).expect("programs are built");
    spec.wire = wire;
    spec.nodes = 4;
    spec
}

const ALL: &[&str] = &["node1-pod1", "node2-pod1", "node3-pod1"];

/// Everything but the set of pods changes; the same flows all through.
fn nodes_and_agents_change(trial: &mut Trial) {
    trial.check("nothing");
    trial.lab.send_to(2).expect("steered");
    trial.check("a change of the owner");
    trial.lab.send_to(3).expect("steered");
    trial.check("another change of the owner");

    trial.lab.node(3).kill_agent().expect("killed");
    trial.check("kill -9 of the owner's agent");
    trial.lab.node(3).start_agent().expect("started");
    trial.lab.node(3).wait_ready().expect("ready");
    trial.check("the agent's new start");

    trial.start_empty(4);
    trial.lab.send_to(4).expect("steered");
    trial.check("a node with empty maps became the owner");

    trial.set(2, 1, Endpoint::NotReady);
    trial.check_promised("a pod is not ready");
    trial.check_new(&["node1-pod1", "node3-pod1"]);
    trial.set(2, 1, Endpoint::Ready);
    trial.check_promised("the pod is ready again");
    trial.check_new(ALL);
}

#[test]
fn nodes_and_agents_change_on_one_link() {
    if require::root("net") {
        let mut trial = Trial::start(spec("chgone", Wire::SameLink), |_| {});
        nodes_and_agents_change(&mut trial);
        trial.end();
    }
}

#[test]
fn nodes_and_agents_change_behind_a_router() {
    if require::root("net") {
        let mut trial = Trial::start(spec("chgrouted", Wire::Routed), |_| {});
        nodes_and_agents_change(&mut trial);
        trial.end();
    }
}

/// A node that has pods loses all that it knew of their flows, and becomes the
/// ingress at once: the flows go on.
///
/// Clients do not reach pods by their own addresses here, as in most clusters.
/// Where they do, what a pod sends before its node has seen the flow again gets
/// to the client as it is, who resets it.
fn a_node_with_pods_starts_empty(prefix: &str, wire: Wire) {
    let mut trial = Trial::start(spec(prefix, wire), |_| {});
    for node in trial.lab.spec().node_numbers() {
        for subnet in pod_subnets(node) {
            let client = trial.lab.client();
            let route = client.ip(&format!("route add blackhole {subnet}"));
            route.expect("the client is told");
        }
    }
    trial.lab.send_to(2).expect("steered");
    trial.check("a change of the owner");
    trial.start_empty(1);
    trial.lab.send_to(1).expect("steered");
    trial.check("a node with pods started with empty maps and became the owner");
    trial.check_new(ALL);
    trial.end();
}

#[test]
fn a_node_with_pods_starts_empty_on_one_link() {
    if require::root("net") {
        a_node_with_pods_starts_empty("chgempty", Wire::SameLink);
    }
}

#[test]
fn a_node_with_pods_starts_empty_behind_a_router() {
    if require::root("net") {
        a_node_with_pods_starts_empty("chgemptyr", Wire::Routed);
    }
}

/// Has a namespace drop what it would forward, and any of these nft expressions
/// matches, until [`let_pass`].
fn hold_back(namespace: &Namespace, what: &[String]) {
    let rules: String = what.iter().map(|what| format!("{what} drop\n")).collect();
    let table = format!(
        "table inet held {{\nchain forward {{\ntype filter hook forward priority 0\n{rules}}}\n}}\n"
    );
    feed(namespace.command("nft").args(["-f", "-"]), &table).expect("nft takes it");
}

fn let_pass(namespace: &Namespace) {
    let table = ["delete", "table", "inet", "held"];
    namespace.run("nft", &table).expect("it was there");
}

/// Whether every connection of a pod has something that no client has taken.
fn all_wait(pod: &Namespace) -> bool {
    let open = pod.run("ss", &["-Htn", "state", "established"]);
    let open = open.expect("ss prints connections");
    // Bytes received, and bytes sent that are not acknowledged.
    let waits = |line: &str| line.split_whitespace().nth(1) != Some("0");
    !open.is_empty() && open.lines().all(waits)
}

/// Where clients reach pods by their own addresses: a node loses all that it
/// knew, and the first to say something after that are its pods. They are held
/// back until their clients have been heard.
#[test]
fn pods_speak_first_on_a_node_that_starts_empty() {
    if !require::root("net") {
        return;
    }
    let mut trial = Trial::start(spec("chgfirst", Wire::Routed), |_| {});
    trial.lab.send_to(2).expect("steered");
    trial.check("a change of the owner");
    let (node, router) = (trial.lab.node(1), trial.lab.router());
    let services = &trial.lab.manifests.services;
    let answers: Vec<_> = services
        .iter()
        .map(|service| format!("tcp sport {}", service.target_port))
        .collect();
    hold_back(&node.namespace(), &answers);
    let pod = trial.lab.pod(1, 1).namespace();
    wait::until(PATIENCE, "all connections wait", || all_wait(&pod)).expect("they do");
    let questions: Vec<_> = trial.lab.vips().iter().map(to).collect();
    hold_back(&router, &questions);
    node.kill_agent().expect("killed");
    node.wipe_maps().expect("wiped");
    node.start_agent().expect("started");
    node.wait_ready().expect("ready");
    let_pass(&node.namespace());
    let held = || node.counter("reply_too_early").is_ok_and(|held| held > 0);
    wait::until(PATIENCE, "pods are held back", held).expect("they are");
    let_pass(&router);
    trial.forgive();
    trial.check("pods spoke before their clients");
    trial.end();
}

/// What goes to an address, for nft.
fn to(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("ip daddr {address}"),
        IpAddr::V6(address) => format!("ip6 daddr {address}"),
    }
}

/// Four nodes with a pod each, the last of which no slice has yet.
fn three_of_four(prefix: &str, wire: Wire) -> Trial {
    let mut spec = spec(prefix, wire);
    spec.pods = 4;
    Trial::start(spec, |lab| lab.set_endpoint(4, 1, Endpoint::Gone))
}

/// The set of pods changes, each time under flows that began before it.
fn pods_come_and_go(trial: &mut Trial) {
    trial.check_new(ALL);
    trial.set(4, 1, Endpoint::Ready);
    trial.check_promised("a pod was added");
    trial.check_new(&[ALL, &["node4-pod1"]].concat());

    trial.open_anew();
    trial.set(1, 1, Endpoint::Draining);
    trial.check_promised("a pod drains");
    trial.check_new(&["node2-pod1", "node3-pod1", "node4-pod1"]);
    trial.lab.pod(1, 1).stop().expect("stopped");
    trial.gone.push("node1-pod1".to_owned());
    trial.set(1, 1, Endpoint::Gone);
    trial.check_promised("the pod is gone");
    trial.check_new(&["node2-pod1", "node3-pod1", "node4-pod1"]);
}

#[test]
fn pods_come_and_go_on_one_link() {
    if require::root("net") {
        let mut trial = three_of_four("chgpods", Wire::SameLink);
        pods_come_and_go(&mut trial);
        trial.end();
    }
}

#[test]
fn pods_come_and_go_behind_a_router() {
    if require::root("net") {
        let mut trial = three_of_four("chgpodsr", Wire::Routed);
        pods_come_and_go(&mut trial);
        trial.end();
    }
}

/// Whether pods are reached past the stack changes, and changes back: open flows
/// go on, and new ones that begin at that very time are answered.
fn delivery_changes(prefix: &str, wire: Wire) {
    let mut trial = Trial::start(spec(prefix, wire), |_| {});
    for round in 0..5 {
        for direct in [true, false] {
            let note = direct.then(|| "corten.dev/delivery: direct".to_owned());
            for service in &mut trial.lab.manifests.services {
                service.annotations = note.clone().into_iter().collect();
            }
            trial.lab.write().expect("manifests are written");
            trial.check_new(ALL);
            trial.check(&format!("round {round}, direct delivery: {direct}"));
        }
    }
    trial.end();
}

#[test]
fn delivery_changes_on_one_link() {
    if require::root("net") {
        delivery_changes("chgway", Wire::SameLink);
    }
}

#[test]
fn delivery_changes_behind_a_router() {
    if require::root("net") {
        delivery_changes("chgwayr", Wire::Routed);
    }
}

/// All of the above, in a flood of packets from addresses that nobody has.
#[test]
fn a_flood_takes_no_flow_along() {
    if !require::root("net") {
        return;
    }
    let mut trial = three_of_four("chgflood", Wire::SameLink);
    let service = &trial.lab.manifests.services[0];
    let targets = service.vip.both().map(|vip| (vip, service.port).into());
    trial.crowded = true;
    let flooding = Flooding::start(&trial.lab.client(), targets.to_vec(), FLOOD);
    nodes_and_agents_change(&mut trial);
    trial.open_anew();
    pods_come_and_go(&mut trial);
    let sent = flooding.finish().expect("the flood ends");
    assert!(sent >= FLOOD, "{sent}");
    trial.end();
}
