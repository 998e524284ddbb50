//! Whoever gives addresses may be killed at any moment: against a real API
//! server, a writer is killed at every single write of an allocation of 200
//! Services, once before the server gets it and once before the answer comes.

mod cut;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ::kube::api::{DeleteParams, GetParams, PostParams};
use ::kube::{Api, Client, ResourceExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use lb_agent::publish::{self, Decided, Epoch, Settings};
use lb_agent::source::State;
use lb_agent::source::kube::{self, Scope, connect};
use lb_core::ipam::assign;
use lb_core::lease::Timing;
use lb_tests::kubernetes::{ApiServer, POOL};
use lb_tests::require;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use cut::{Cut, Last};

const SERVICES: usize = 200;
const LIMIT: Duration = Duration::from_secs(60);

async fn server() -> (ApiServer, Client) {
    let server = ApiServer::start().expect("it starts");
    let kubectl = server.kubectl();
    let namespace = ["create", "namespace", "metallb-system"];
    kubectl.run(&namespace).expect("made");
    kubectl.define_kinds().expect("defined");
    kubectl.apply(POOL).expect("applied");
    let cluster = connect::connect(Some(server.kubeconfig())).await;
    let client = cluster.expect("a client").client;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    for number in 0..SERVICES {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("web{number}")},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        });
        let service = serde_json::from_value(service).expect("a Service");
        let made = services.create(&PostParams::default(), &service).await;
        made.expect("made");
    }
    (server, client)
}

/// What gives addresses in an agent. Dropped, it is gone at once.
struct Writer {
    _tasks: JoinSet<()>,
    _stop: oneshot::Sender<()>,
}

impl Writer {
    fn start(client: &Client) -> Self {
        let (epoch, epochs) = Epoch::new();
        let (states_out, mut states) = watch::channel(State::default());
        let (decided_out, decided) = watch::channel(Decided::default());
        let (stop, stopped) = oneshot::channel();
        let settings = Settings {
            node: "node1".to_owned(),
            namespace: "default".to_owned(),
            config_namespace: "metallb-system".to_owned(),
            // Nobody is to lapse by itself.
            timing: Timing::of(Duration::from_secs(120)),
            secret: None,
            fence: publish::Fence::none(),
        };
        let mut tasks = JoinSet::new();
        let source = kube::run(client.clone(), Scope::default(), epochs, states_out);
        tasks.spawn(source);
        tasks.spawn(publish::run(
            client.clone(),
            settings,
            epoch,
            decided,
            stopped,
        ));
        tasks.spawn(async move {
            while states.changed().await.is_ok() {
                let state = states.borrow_and_update().clone();
                let Some(facts) = state.facts else {
                    continue;
                };
                decided_out.send_replace(Decided {
                    assignment: Arc::new(assign(&facts)),
                    handles: state.handles,
                    epoch: state.epoch,
                    config: facts.config.clone(),
                    ..Decided::default()
                });
            }
        });
        Self {
            _tasks: tasks,
            _stop: stop,
        }
    }
}

/// The addresses of all Services, by name.
async fn addresses(client: &Client) -> BTreeMap<String, IpAddr> {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let services = services.list(&Default::default()).await.expect("a list");
    let given = services.items.into_iter().filter_map(|service| {
        let name = service.name_any();
        let ingress = service.status?.load_balancer?.ingress?;
        Some((name, ingress.first()?.ip.as_ref()?.parse().ok()?))
    });
    given.collect()
}

/// The Lease of the one who was killed is over, as after its time.
async fn lapse(client: &Client) {
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let gone = leases.delete("corten", &DeleteParams::default()).await;
    gone.expect("it was held");
    // Who waits looks into the server's cache.
    let seen = async {
        while leases.get_with("corten", &GetParams::any()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let seen = tokio::time::timeout(LIMIT, seen).await;
    seen.expect("the cache follows");
}

/// No address twice, and none changed.
async fn check(client: &Client, known: &mut BTreeMap<String, IpAddr>) {
    let now = addresses(client).await;
    for (name, address) in &*known {
        assert_eq!(now.get(name), Some(address), "{name} keeps its address");
    }
    let different: BTreeSet<_> = now.values().collect();
    assert_eq!(different.len(), now.len(), "no address twice");
    *known = now;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_killed_at_any_write_gives_no_address_twice() {
    if !require::wanted("kubernetes") {
        return;
    }
    let (_server, client) = server().await;
    let mut known = BTreeMap::new();
    let mut kills = 0;
    while known.len() < SERVICES {
        let there = known.len();
        // One by one, and now and then among several that are under way.
        let after = if there % 20 == 10 { 5 } else { 0 };
        for last in [Last::Lost, Last::Unanswered] {
            // So many writes, and the one at which it is cut.
            if known.len() + after >= SERVICES {
                break;
            }
            let cut = Cut::new(after, last);
            let writer = Writer::start(&cut.on(client.clone()));
            let done = tokio::time::timeout(LIMIT, cut.done()).await;
            done.unwrap_or_else(|_| panic!("it writes nothing; {} are given", known.len()));
            drop(writer);
            kills += 1;
            check(&client, &mut known).await;
            lapse(&client).await;
        }
        assert!(known.len() > there, "an unanswered write counts");
    }
    println!("{kills} writers were killed");
    // What the last one left is whole: the next has nothing to do.
    let writer = Writer::start(&client);
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let held = async {
        while leases.get_opt("corten").await.expect("an answer").is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let held = tokio::time::timeout(LIMIT, held).await;
    held.expect("somebody takes over");
    check(&client, &mut known).await;
    assert_eq!(known.len(), SERVICES);
    drop(writer);
}
