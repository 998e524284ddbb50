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

use std::time::Duration;

use ::kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::State;
use crate::clock;

pub mod connect;
pub(crate) mod follow;
mod handle;
mod kind;
mod store;

use super::object::Ours;
use super::object::shape::{NodeBody, ServiceBody, SliceBody};
use follow::Follower;
use kind::{Body, Kind, NamespaceBody, Object};
use store::{Change, Entry, Store};

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
    ours: Ours,
    epoch: watch::Receiver<u64>,
    states: watch::Sender<State>,
) {
    // Followers wait while the store is behind.
    let (changes, changed) = mpsc::channel(1024);
    let mut followers = JoinSet::new();
    let (_never, fixed) = watch::channel(0);
    let start = Start {
        client,
        ours,
        changes,
    };
    followers.spawn(start.follower::<ServiceBody>(Kind::Services, epoch).run());
    let slices = Follower {
        labels: Some(WITH_ADDRESS),
        ..start.follower::<SliceBody>(Kind::EndpointSlices, fixed.clone())
    };
    followers.spawn(slices.run());
    followers.spawn(start.follower::<NodeBody>(Kind::Nodes, fixed.clone()).run());
    followers.spawn(
        start
            .follower::<NamespaceBody>(Kind::Namespaces, fixed)
            .run(),
    );
    drop(start);
    keep(changed, &states).await;
}

/// What all followers have in common.
struct Start {
    client: Client,
    ours: Ours,
    changes: mpsc::Sender<Change>,
}

impl Start {
    fn follower<B: Body>(&self, kind: Kind, epoch: watch::Receiver<u64>) -> Follower<B>
    where
        Object<B>: Entry,
    {
        Follower {
            api: Api::all(self.client.clone()),
            kind,
            labels: None,
            fields: None,
            ours: self.ours.clone(),
            epoch,
            changes: self.changes.clone(),
        }
    }
}

/// Keeps the store, and sends what is in it: at once, and then at a pace.
async fn keep(mut changed: mpsc::Receiver<Change>, states: &watch::Sender<State>) {
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
