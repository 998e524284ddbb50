//! The API server of a cluster as the source of facts.
//!
//! ```text
//! follow(services) ───┐
//! follow(slices) ─────┼──changes──> store ──state, paced──> reconcile
//! follow(nodes), … ───┘               ▲
//!      ▲ epoch                        └ the last good facts stay
//! ```
//!
//! One task for each kind, which lists and watches it for ever, and one that
//! keeps the store. They end when nobody listens. All may be cancelled at any
//! point: the cluster is the state.

use std::collections::BTreeSet;
use std::time::Duration;

use ::kube::{Api, Client};
use k8s_openapi::NamespaceResourceScope;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::State;
use crate::clock;

mod config;
pub mod connect;
pub(crate) mod follow;
mod handle;
mod kind;
mod store;

use super::object::shape::{NodeBody, ServiceBody, SliceBody};
use super::object::{Ours, legacy};
use config::{Metal, Spec};
use follow::Follower;
use kind::{Body, Kind, NamespaceBody, Object};
use store::{Change, Entry, Store};

/// What of a cluster is ours to look at.
#[derive(Clone, Debug)]
pub struct Scope {
    pub ours: Ours,
    /// The namespace of the configuration.
    pub config_namespace: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            ours: Ours::default(),
            config_namespace: super::object::config::NAMESPACE.to_owned(),
        }
    }
}

/// Between two states.
const PACE: Duration = Duration::from_millis(20);
/// Of the slices of headless Services nobody balances anything.
const WITH_ADDRESS: &str = "!service.kubernetes.io/headless";

/// Follows a cluster and sends what is known of it whenever that changes.
///
/// When `epoch` changes, Services are listed anew, and [`State::epoch`] says
/// as of which epoch they are known: facts that a writer may act upon.
pub async fn run(
    client: Client,
    scope: Scope,
    epoch: watch::Receiver<u64>,
    states: watch::Sender<State>,
) {
    // Followers wait while the store is behind.
    let (changes, changed) = mpsc::channel(1024);
    let mut followers = JoinSet::new();
    let (_never, fixed) = watch::channel(0);
    let start = Start {
        client,
        scope,
        changes,
    };
    followers.spawn(start.follower::<ServiceBody>(Kind::Services, epoch).run());
    let slices = Follower {
        labels: Some(WITH_ADDRESS),
        ..start.follower::<SliceBody>(Kind::EndpointSlices, fixed.clone())
    };
    followers.spawn(slices.run());
    followers.spawn(start.follower::<NodeBody>(Kind::Nodes, fixed.clone()).run());
    let namespaces = start.follower::<NamespaceBody>(Kind::Namespaces, fixed.clone());
    followers.spawn(namespaces.run());
    start.metal::<config::Pools>(&fixed, &mut followers);
    start.metal::<config::L2>(&fixed, &mut followers);
    start.metal::<config::Bgp>(&fixed, &mut followers);
    start.metal::<config::Peers>(&fixed, &mut followers);
    start.metal::<config::Communities>(&fixed, &mut followers);
    start.metal::<config::Profiles>(&fixed, &mut followers);
    let map = Follower {
        api: start.configured(),
        fields: Some(format!("metadata.name={}", legacy::KEY)),
        ..start.follower::<config::MapBody>(Kind::ConfigMaps, fixed)
    };
    followers.spawn(map.run());
    let (wanted, wanted_in) = watch::channel(BTreeSet::new());
    let namespace = start.scope.config_namespace.clone();
    let (client, changes) = (start.client.clone(), start.changes.clone());
    followers.spawn(config::secrets(client, namespace, wanted_in, changes));
    drop(start);
    keep(changed, &states, &wanted).await;
}

/// What all followers have in common.
struct Start {
    client: Client,
    scope: Scope,
    changes: mpsc::Sender<Change>,
}

impl Start {
    /// In the namespace of the configuration.
    fn configured<B: Body<Scope = NamespaceResourceScope>>(&self) -> Api<Object<B>> {
        Api::namespaced(self.client.clone(), &self.scope.config_namespace)
    }

    fn metal<M: Metal>(&self, fixed: &watch::Receiver<u64>, followers: &mut JoinSet<()>) {
        let follower = Follower {
            api: self.configured(),
            ..self.follower::<Spec<M>>(M::WATCHED, fixed.clone())
        };
        followers.spawn(follower.run());
    }

    fn follower<B: Body>(&self, kind: Kind, epoch: watch::Receiver<u64>) -> Follower<B>
    where
        Object<B>: Entry,
    {
        Follower {
            api: Api::all(self.client.clone()),
            kind,
            labels: None,
            fields: None,
            ours: self.scope.ours.clone(),
            epoch,
            changes: self.changes.clone(),
        }
    }
}

/// Keeps the store, and sends what is in it: at once, and then at a pace.
async fn keep(
    mut changed: mpsc::Receiver<Change>,
    states: &watch::Sender<State>,
    wanted: &watch::Sender<BTreeSet<String>>,
) {
    let mut store = Store::new();
    let mut batch = Vec::new();
    let mut paced = clock::instant();
    let mut due = None;
    loop {
        let wait = async {
            match due {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = states.closed() => return,
            () = wait => {
                due = None;
                paced = clock::instant() + PACE;
                let secrets = store.wanted_secrets();
                wanted.send_if_modified(|last| {
                    let modified = *last != secrets;
                    *last = secrets;
                    modified
                });
                let state = store.state();
                states.send_if_modified(|last| {
                    let modified = *last != state;
                    *last = state;
                    modified
                });
            }
            count = changed.recv_many(&mut batch, 256) => {
                if count == 0 {
                    return;
                }
                for change in batch.drain(..) {
                    store.take(change);
                }
                due.get_or_insert_with(|| paced.max(clock::instant()));
            }
        }
    }
}
