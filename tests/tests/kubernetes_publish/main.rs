//! Addresses get into the statuses of Services, by one agent at a time: against
//! a real API server.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_agent::publish::{self, Decided, Epoch, Settings};
use lb_agent::secret::{Known, Secrets};
use lb_agent::source::State;
use lb_agent::source::kube::{self, Scope, connect};
use lb_core::desired::{Memo, desired};
use lb_core::fence::{Arbiter, Doubts};
use lb_core::lease::Timing;
use lb_core::model::{Inputs, Links, Members, NodeName, ServiceName};
use lb_core::problem::Problem;
use lb_tests::kubernetes::{ApiServer, Kubectl, POOL};
use lb_tests::require;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(120);
const LEASE: Duration = Duration::from_secs(3);
const SERVICES: usize = 200;
/// Where Corten is.
const NAMESPACE: &str = "corten-system";

/// An API server with MetalLB's kinds, Corten's account and roles, and a pool.
fn server() -> ApiServer {
    let server = ApiServer::start().expect("it starts");
    let kubectl = server.kubectl();
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");
    let file = |name: &str| format!("{base}/{name}.yaml");
    for arguments in [
        &["apply", "--filename", &file("namespaces")][..],
        &["apply", "--filename", &file("rbac")],
        &["create", "serviceaccount", "corten", "-n", NAMESPACE],
    ] {
        kubectl.run(arguments).expect("done");
    }
    kubectl.define_kinds().expect("defined");
    kubectl.apply(POOL).expect("applied");
    server
}

/// The part of an agent that gives addresses, without a data plane. Dropped,
/// it is gone at once, as if killed.
struct Agent {
    _tasks: JoinSet<()>,
    stop: oneshot::Sender<()>,
    secret: watch::Receiver<Known>,
    /// What its node's programs hear others claim.
    claimed: watch::Sender<Arc<BTreeSet<Problem>>>,
    /// What its fence is in doubt about, and what the Lease says to that.
    doubts: watch::Sender<Doubts>,
    arbiter: watch::Receiver<Arbiter>,
}

impl Agent {
    async fn start(server: &ApiServer, node: &str) -> Self {
        // It may do no more than what the roles allow.
        let account = server.service_account(NAMESPACE, "corten");
        let cluster = connect::connect(Some(&account.expect("an account")))
            .await
            .expect("a client");
        let (epoch, epochs) = Epoch::new();
        let (states_out, mut states) = watch::channel(State::default());
        let (decided_out, decided) = watch::channel(Decided::default());
        let (stop, stopped) = oneshot::channel();
        let (doubts_out, doubts) = watch::channel(Doubts::default());
        let (arbiter_out, arbiter) = watch::channel(Arbiter::Unknown);
        let (known, secret) = watch::channel(Known::default());
        let settings = Settings {
            node: node.to_owned(),
            namespace: NAMESPACE.to_owned(),
            config_namespace: "metallb-system".to_owned(),
            timing: Timing::of(LEASE),
            secret: Some((server.folder().join(node), known)),
            fence: publish::Fence {
                doubts,
                arbiter: arbiter_out,
            },
        };
        let mut tasks = JoinSet::new();
        let client = cluster.client.clone();
        tasks.spawn(kube::run(client, Scope::default(), epochs, states_out));
        tasks.spawn(publish::run(
            cluster.client,
            settings,
            epoch,
            decided,
            stopped,
        ));
        let this_node = NodeName::new(node);
        let (claimed, mut claims) = watch::channel(Arc::<BTreeSet<Problem>>::default());
        tasks.spawn(async move {
            loop {
                let changed = tokio::select! {
                    changed = states.changed() => changed,
                    changed = claims.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
                let state = states.borrow_and_update().clone();
                if state.facts.is_some() {
                    decided_out.send_replace(Decided {
                        claimed: claims.borrow_and_update().clone(),
                        ..decide(state, &this_node)
                    });
                }
            }
        });
        Self {
            _tasks: tasks,
            stop,
            secret,
            claimed,
            doubts: doubts_out,
            arbiter,
        }
    }

    /// Its fence does not hear these, and that decides.
    fn does_not_hear(&self, nodes: &[&str]) {
        self.doubts.send_replace(Doubts {
            unheard: nodes.iter().map(|node| NodeName::new(node)).collect(),
            decides: true,
        });
    }

    /// Waits until the Lease says that.
    async fn told_by_lease(&mut self, is: impl Fn(&Arbiter) -> bool) {
        let told = tokio::time::timeout(LIMIT, self.arbiter.wait_for(|told| is(told))).await;
        told.expect("in time").expect("it runs");
    }

    /// Waits until it knows a secret that is as it should be.
    async fn secret(&mut self, is: impl Fn(&Known) -> bool) -> Arc<Secrets> {
        let known = self.secret.wait_for(|known| is(known));
        let known = tokio::time::timeout(LIMIT, known).await;
        let known = known.expect("in time").expect("it runs");
        known.secrets.clone().expect("known")
    }

    /// Ends it in order: the Lease is given up.
    async fn stop(mut self) {
        self.stop.send(()).expect("it runs");
        self._tasks.join_next().await;
    }
}

/// As an agent does, without links and maps.
fn decide(state: State, this_node: &NodeName) -> Decided {
    let facts = state.facts.expect("there are some");
    let inputs = Inputs {
        facts: (*facts).clone(),
        this_node: this_node.clone(),
        secret: Vec::new(),
        links: Links::default(),
        members: Members::default(),
        free: None,
    };
    let desired = desired(&inputs, &mut Memo::default());
    Decided {
        assignment: desired.assignment,
        handles: state.handles,
        epoch: state.epoch,
        config: inputs.facts.config,
        vips: desired.vips,
        bgp: desired.bgp,
        nodes: Arc::new(facts.nodes.keys().cloned().collect()),
        ..Decided::default()
    }
}

fn yaml(number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web{number}\nspec:\n  \
         type: LoadBalancer\n  ports:\n  - port: 80\n---\n"
    )
}

/// The addresses of all Services, by name.
fn addresses(kubectl: &Kubectl) -> BTreeMap<String, IpAddr> {
    let services = kubectl.json(&["get", "services"]).expect("a list");
    let items = services["items"].as_array().expect("a list").iter();
    let given = items.filter_map(|service| {
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?;
        let name = service["metadata"]["name"].as_str()?;
        Some((name.to_owned(), ip.parse().ok()?))
    });
    given.collect()
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.unwrap_or_else(|_| panic!("not {what}"))
}

/// What `kubectl describe` says of the first Service, once that is in it.
async fn told(kubectl: &Kubectl, what: &str) -> String {
    until("told", || {
        let arguments = ["describe", "service", "web1"];
        let text = kubectl.run(&arguments).expect("described");
        text.contains(what).then_some(text)
    })
    .await
}

fn holder(kubectl: &Kubectl) -> Option<String> {
    let lease = kubectl
        .json(&["get", "lease", "corten", "-n", NAMESPACE])
        .ok()?;
    let holder = lease["spec"]["holderIdentity"].as_str()?;
    let (node, _) = holder.split_once('_')?;
    Some(node.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_given_an_address_and_its_owner_is_told() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    kubectl.apply(&yaml(1)).expect("applied");
    let agent = Agent::start(&server, "node1").await;
    until("given", || addresses(kubectl).get("web1").copied()).await;

    let service = || {
        let arguments = ["get", "service", "web1", "--show-managed-fields"];
        kubectl.json(&arguments).expect("it is there")
    };
    let web = service();
    let annotations = &web["metadata"]["annotations"];
    assert_eq!(annotations["metallb.io/ip-allocated-from-pool"], "main");
    assert_eq!(web["status"]["loadBalancer"]["ingress"][0]["ipMode"], "VIP");
    let managers = web["metadata"]["managedFields"].as_array().expect("a list");
    let ours: Vec<&Value> = managers
        .iter()
        .filter(|m| m["manager"] == "corten")
        .collect();
    assert_eq!(
        (ours[0]["operation"].as_str(), ours.len()),
        (Some("Apply"), 1)
    );
    let told = told(kubectl, "IPAllocated").await;
    assert!(told.contains("Assigned IP [\"192.0.2."), "{told}");

    let pool = |what: &'static str| {
        let arguments = ["get", "ipaddresspool", "main", "-n", "metallb-system"];
        let pool = kubectl.json(&arguments).expect("it is there");
        pool["status"][what].as_i64()
    };
    until("counted", || {
        (pool("assignedIPv4") == Some(1) && pool("availableIPv4") == Some(255)).then_some(())
    })
    .await;

    // What it no longer is takes everything away.
    let patch = r#"{"spec":{"type":"ClusterIP"}}"#;
    kubectl
        .run(&["patch", "service", "web1", "-p", patch])
        .expect("patched");
    until("released", || {
        let web = service();
        let annotation = &web["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"];
        let status = &web["status"]["loadBalancer"]["ingress"];
        (annotation.is_null() && status.is_null()).then_some(())
    })
    .await;
    until("counted again", || {
        (pool("assignedIPv4") == Some(0)).then_some(())
    })
    .await;
    agent.stop().await;
    let lease = kubectl
        .json(&["get", "lease", "corten", "-n", NAMESPACE])
        .expect("it is there");
    assert_eq!(lease["spec"]["holderIdentity"].as_str().unwrap_or(""), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_another_machine_has_is_told_of() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    kubectl.apply(&yaml(1)).expect("applied");
    let agent = Agent::start(&server, "node1").await;
    let vip = until("given", || addresses(kubectl).get("web1").copied()).await;
    let claim = Problem::VipClaimed {
        service: ServiceName::new("default", "web1"),
        vip,
        mac: "02:00:00:00:00:01".to_owned(),
        held_back: true,
    };
    agent.claimed.send_replace(Arc::new([claim].into()));
    let told = told(kubectl, "VipClaimed").await;
    let says = format!("02:00:00:00:00:01, which is no node, says to have {vip}");
    assert!(told.contains(&says), "{told}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_are_killed_give_no_address_twice() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    let all: String = (0..SERVICES).map(yaml).collect();
    kubectl.apply(&all).expect("applied");
    let mut agents = BTreeMap::new();
    for number in 1..=3 {
        let name = format!("node{number}");
        agents.insert(name.clone(), Agent::start(&server, &name).await);
    }
    let mut known: BTreeMap<String, IpAddr> = BTreeMap::new();
    let mut kills = 0;
    loop {
        let now = until("more are given", || {
            let now = addresses(kubectl);
            (now.len() > known.len()).then_some(now)
        })
        .await;
        for (name, address) in &known {
            assert_eq!(now.get(name), Some(address), "{name} keeps its address");
        }
        let different: BTreeSet<_> = now.values().collect();
        assert_eq!(different.len(), now.len(), "no address twice");
        known = now;
        if known.len() == SERVICES {
            break;
        }
        // In the middle of its work; another one of that name comes at once.
        let name = until("somebody holds the Lease", || holder(kubectl)).await;
        drop(agents.remove(&name));
        kills += 1;
        agents.insert(name.clone(), Agent::start(&server, &name).await);
    }
    println!("{kills} writers were killed");
    assert!(kills > 0, "at least one in the middle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_share_a_secret_that_they_make_themselves() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    let mut first = Agent::start(&server, "node1").await;
    let mut second = Agent::start(&server, "node2").await;
    let any = |known: &Known| known.secrets.is_some();
    let made = first.secret(any).await;
    assert_eq!(second.secret(any).await, made);
    let lengths = (made.messages[0].len(), made.pick.len());
    assert_eq!((lengths, made.messages.len()), ((64, 64), 1));
    assert_eq!(
        Secrets::kept(&server.folder().join("node1")),
        Some((*made).clone())
    );

    // Another one for messages; that of the pick stays.
    let old = String::from_utf8(made.messages[0].clone()).expect("a text");
    let new = format!(r#"{{"stringData":{{"agents":"new\n{old}"}}}}"#);
    let patch = |data: &str| {
        let patch = ["patch", "secret", "corten-cluster", "-n", NAMESPACE];
        let patch = [&patch[..], &["--patch", data]].concat();
        kubectl.run(&patch).expect("patched");
    };
    patch(&new);
    let both = |known: &Known| {
        known
            .secrets
            .as_ref()
            .is_some_and(|s| s.messages.len() == 2)
    };
    let rotated = first.secret(both).await;
    assert_eq!(rotated.messages, [b"new".as_slice(), old.as_bytes()]);
    assert_eq!(
        (second.secret(both).await, &rotated.pick),
        (rotated.clone(), &made.pick)
    );

    // One that cannot be used is named, and the last good one holds.
    patch(r#"{"stringData":{"pick":" "}}"#);
    let wrong = |known: &Known| {
        let failure = known.failure.as_deref().unwrap_or_default();
        failure.contains("Secret corten-system/corten-cluster") && failure.contains("pick")
    };
    assert_eq!(first.secret(wrong).await, rotated);

    // Gone by mistake, it comes back as it was, whoever holds the Lease now.
    kubectl
        .run(&["delete", "secret", "corten-cluster", "-n", NAMESPACE])
        .expect("deleted");
    first.stop().await;
    let good = |known: &Known| known.failure.is_none();
    assert_eq!(second.secret(good).await, rotated);
    let third = Agent::start(&server, "node3").await.secret(any).await;
    assert_eq!(third, rotated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_agents_that_do_not_hear_each_other_the_lease_tells_who_lives() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = server();
    let kubectl = server.kubectl();
    let mut first = Agent::start(&server, "node1").await;
    until("held", || holder(kubectl)).await;
    let mut second = Agent::start(&server, "node2").await;
    let ours = |told: &Arbiter| matches!(told, Arbiter::Ours { .. });
    let theirs = |told: &Arbiter| matches!(told, Arbiter::Theirs { .. });
    first.does_not_hear(&["node2"]);
    second.does_not_hear(&["node1"]);
    first.told_by_lease(ours).await;
    second.told_by_lease(theirs).await;
    // They hear each other again, and then one of them is gone.
    for agent in [&first, &second] {
        agent.doubts.send_replace(Doubts::default());
    }
    second.told_by_lease(|told| *told == Arbiter::Unknown).await;
    drop(first);
    second.does_not_hear(&["node1"]);
    // Nobody renews it, so it says nothing, until it has lapsed.
    let told = second.arbiter.wait_for(|told| *told != Arbiter::Unknown);
    let told = *tokio::time::timeout(LIMIT, told)
        .await
        .expect("in time")
        .expect("it runs");
    assert!(ours(&told), "{told:?}");
    assert_eq!(holder(kubectl).as_deref(), Some("node2"));
}
