//! What the agent knows of a cluster, from a real API server.

use std::sync::Arc;
use std::time::Duration;

use lb_agent::source::kube::{self, Scope, connect};
use lb_agent::source::{State, Watch};
use lb_tests::kubernetes::{ApiServer, POOL};
use lb_tests::require;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(60);

const WEB: &str = "
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: LoadBalancer
  ports:
  - port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels:
    kubernetes.io/service-name: web
addressType: IPv4
ports:
- port: 8080
endpoints:
- addresses: [10.1.0.1]
  nodeName: node1
---
apiVersion: v1
kind: Node
metadata:
  name: node1
";

/// Follows an API server as the agent does.
struct Follower {
    states: watch::Receiver<State>,
    epoch: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Follower {
    async fn of(kubeconfig: &std::path::Path) -> Self {
        let cluster = connect::connect(Some(kubeconfig)).await.expect("a client");
        let (epoch, epochs) = watch::channel(1);
        let (sender, states) = watch::channel(State::default());
        let task = tokio::spawn(kube::run(cluster.client, Scope::default(), epochs, sender));
        Self {
            states,
            epoch,
            task,
        }
    }

    async fn until(&mut self, what: &str, is_so: impl FnMut(&State) -> bool) -> State {
        let state = tokio::time::timeout(LIMIT, self.states.wait_for(is_so)).await;
        if let Ok(state) = state.map(|state| state.expect("it runs").clone()) {
            return state;
        }
        panic!("not {what}: {:#?}", self.states.borrow());
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn services(state: &State) -> Vec<String> {
    let facts = state.facts.iter();
    let names = facts.flat_map(|facts| facts.services.keys());
    names.map(ToString::to_string).collect()
}

fn failing(state: &State) -> Vec<&Watch> {
    let watches = state.watches.iter();
    watches.filter(|watch| watch.failure.is_some()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_followed_through_an_api_server_that_goes_and_comes() {
    if !require::wanted("kubernetes") {
        return;
    }
    let mut server = ApiServer::start().expect("it starts");
    let mut follower = Follower::of(server.kubeconfig()).await;
    let empty = follower
        .until("listed", |state| state.facts.is_some())
        .await;
    assert!(services(&empty).is_empty());

    server.kubectl().apply(WEB).expect("applied");
    let known = |state: &State| {
        let facts = state.facts.as_ref();
        facts.is_some_and(|f| f.services.len() == 1 && f.slices.len() == 1 && f.nodes.len() == 1)
    };
    let there = follower.until("known", known).await;
    let facts = there.facts.clone().expect("known");
    assert!(facts.namespaces.contains_key("default"));
    let handle = there.handles.iter().find(|(name, _)| &*name.name == "web");
    assert!(!handle.expect("one").1.version.is_empty());

    server.kill().expect("killed");
    let away = follower
        .until("noticed", |state| {
            failing(state).len() == state.watches.len()
        })
        .await;
    let same = away.facts.expect("the last good ones");
    assert!(Arc::ptr_eq(&same, &facts), "nothing has changed");
    server.resume().expect("started again");
    let kubectl = server.kubectl();
    kubectl
        .run(&["create", "service", "loadbalancer", "late", "--tcp=80:80"])
        .expect("made");
    follower
        .until("the watch goes on", |state| {
            services(state) == ["default/late", "default/web"] && failing(state).is_empty()
        })
        .await;
    kubectl.run(&["delete", "service", "web"]).expect("gone");
    follower
        .until("gone", |state| services(state) == ["default/late"])
        .await;

    follower.epoch.send_replace(2);
    follower
        .until("listed anew", |state| state.epoch == Some(2))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_etcd_has_forgotten_is_listed_anew_and_nothing_is_lost() {
    if !require::wanted("kubernetes") {
        return;
    }
    let mut server = ApiServer::start().expect("it starts");
    server.kubectl().apply(WEB).expect("applied");
    let mut follower = Follower::of(server.kubeconfig()).await;
    let before = follower
        .until("known", |state| {
            services(state) == ["default/web"] && failing(state).is_empty()
        })
        .await;
    // Every state from here on is looked at.
    let mut states = follower.states.clone();
    let always = tokio::spawn(async move {
        while states.changed().await.is_ok() {
            let there = services(&states.borrow_and_update());
            assert!(there.contains(&"default/web".to_owned()), "{there:?}");
        }
    });
    let list = server.kubectl().run(&["get", "--raw", "/api/v1/services"]);
    let list: serde_json::Value = serde_json::from_str(&list.expect("a list")).expect("JSON");
    let version = list["metadata"]["resourceVersion"].as_str();
    let version = version.expect("a version").to_owned();

    server.kill().expect("killed");
    follower
        .until("noticed", |state| {
            failing(state).len() == state.watches.len()
        })
        .await;
    server.compact().expect("compacted");
    server.resume().expect("started again");
    let kubectl = server.kubectl();
    let url = format!(
        "/api/v1/services?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&\
         resourceVersion={version}"
    );
    let refused = kubectl.run(&["get", "--raw", &url]);
    let refused = refused.unwrap_or_else(|error| format!("{error:#}"));
    assert!(refused.contains("too old resource version"), "{refused}");

    kubectl
        .run(&["create", "service", "loadbalancer", "late", "--tcp=80:80"])
        .expect("made");
    let after = follower
        .until("followed again", |state| {
            services(state) == ["default/late", "default/web"] && failing(state).is_empty()
        })
        .await;
    let slices = |state: &State| state.facts.as_ref().map(|facts| facts.slices.clone());
    let (before, after) = (slices(&before), slices(&after));
    let same = before.zip(after).is_some_and(|(a, b)| a.is_same(&b));
    assert!(same, "what has not changed is the same as before");
    always.abort();
    let watched = always.await;
    assert!(
        watched.is_err_and(|error| error.is_cancelled()),
        "no state was without it"
    );
}

/// May read all but Nodes.
const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata:
  name: reader
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: reader
rules:
- apiGroups: ['', discovery.k8s.io]
  resources: [services, namespaces, endpointslices, configmaps]
  verbs: [list, watch]
- apiGroups: [metallb.io]
  resources: ['*']
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: reader
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: reader
subjects:
- kind: ServiceAccount
  name: reader
  namespace: default
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_may_not_be_read_is_named_and_read_as_soon_as_it_may() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = ApiServer::start().expect("it starts");
    server.kubectl().apply(READER).expect("applied");
    let kubeconfig = server
        .service_account("default", "reader")
        .expect("a token");
    let mut follower = Follower::of(&kubeconfig).await;
    let listed = |state: &State| state.watches.iter().filter(|watch| watch.listed).count();
    let refused = |state: &State| listed(state) == 4 && !state.mistakes.is_empty();
    let state = follower.until("refused", refused).await;
    assert_eq!(state.facts, None, "nodes are not known");
    let mistake = &state.mistakes[0];
    assert!(
        mistake.starts_with("cannot watch nodes: nodes is forbidden"),
        "{mistake}"
    );
    let more = READER.replace("[services, ", "[services, nodes, ");
    server.kubectl().apply(&more).expect("applied");
    follower
        .until("allowed", |state| {
            state.facts.is_some() && state.mistakes.is_empty()
        })
        .await;
}

const OLD: &str = "
apiVersion: v1
kind: ConfigMap
metadata:
  name: config
  namespace: metallb-system
data:
  config: |
    address-pools:
    - name: old
      protocol: layer2
      addresses: [198.51.100.0/24]
";

const PEER: &str = "
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata:
  name: router
  namespace: metallb-system
spec:
  myASN: 64512
  peerASN: 64513
  peerAddress: 203.0.113.1
  passwordSecret:
    name: bgp
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_followed_old_and_new() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = ApiServer::start().expect("it starts");
    let kubectl = server.kubectl();
    kubectl
        .run(&["create", "namespace", "metallb-system"])
        .expect("made");
    let mut follower = Follower::of(server.kubeconfig()).await;
    let pools = |state: &State| {
        let config = state.facts.as_ref()?.config.good.as_ref()?;
        Some(config.pools.keys().cloned().collect::<Vec<_>>())
    };
    let absent = |state: &State| state.watches.iter().filter(|watch| watch.absent).count();
    let bare = follower
        .until("looked", |state| {
            absent(state) == 6 && state.facts.is_some()
        })
        .await;
    assert_eq!(pools(&bare), None, "nobody has configured anything");
    assert!(bare.mistakes.is_empty(), "{:?}", bare.mistakes);

    kubectl.apply(OLD).expect("applied");
    follower
        .until("old", |state| pools(state) == Some(vec!["old".to_owned()]))
        .await;
    kubectl.define_kinds().expect("defined");
    kubectl.apply(POOL).expect("applied");
    let both = Some(vec!["main".to_owned(), "old".to_owned()]);
    follower.until("both", |state| pools(state) == both).await;

    // What contradicts itself is told, and changes nothing.
    kubectl
        .apply(&POOL.replace("name: main", "name: other"))
        .expect("applied");
    let refused = |state: &State| {
        let facts = state.facts.as_ref();
        facts.is_some_and(|facts| !facts.config.refused.is_empty())
    };
    let wrong = follower.until("refused", refused).await;
    assert_eq!(pools(&wrong), both);
    kubectl
        .run(&["delete", "-n", "metallb-system", "ipaddresspool", "other"])
        .expect("gone");
    follower.until("right again", |state| !refused(state)).await;

    // A peer's password is asked for by name.
    kubectl.apply(PEER).expect("applied");
    follower.until("the Secret is missed", refused).await;
    let secret = [
        "create",
        "secret",
        "generic",
        "bgp",
        "--namespace=metallb-system",
        "--type=kubernetes.io/basic-auth",
        "--from-literal=password=hunter2",
    ];
    kubectl.run(&secret).expect("made");
    follower
        .until("it is found", |state| {
            let facts = state.facts.as_ref();
            let config = facts.and_then(|facts| facts.config.good.clone());
            !refused(state) && config.is_some_and(|config| config.peers.contains_key("router"))
        })
        .await;
}
