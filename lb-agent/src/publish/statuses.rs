//! Writes `ServiceL2Status` and `ServiceBGPStatus`: each node says of itself
//! which Services it announces, in objects as MetalLB's speakers make them.
//!
//! An object belongs to its Node and goes with it; MetalLB's belong to the Pod,
//! which for us is in another namespace. A node that begins to announce takes
//! away what others say of that Service, as MetalLB's does; the holder of the
//! Lease takes away what is not true any more, when it has seen it twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DeleteParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use lb_core::ipam;
use lb_core::model::ServiceName;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::election::Term;
use super::events::{About, News, tell};
use super::of_node::{self, OfNode};
use super::request::{LastFailure, apply_status, in_time, list_all, making};
use super::status_kind::Status;
use super::{Decided, quieted, woken};
use crate::clock;

/// Between two rounds.
const PACE: Duration = Duration::from_millis(250);
/// What others did to our objects is seen after this, or after so many times as
/// long as it takes to look.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_PAUSES: u32 = 50;
const RETRY: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// Requests at once.
const AT_ONCE: usize = 8;

const SERVICE_NAME: &str = "metallb.io/service-name";
const SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// An object of this node.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    says: Option<BTreeSet<String>>,
}

pub(super) struct Statuses<K> {
    api: Api<K>,
    node: OfNode,
    news: mpsc::Sender<News>,
    limit: Duration,
    /// What this node has said; none: it is to be looked up.
    there: Option<BTreeMap<ServiceName, Row>>,
    /// Whether all was as it should be once.
    began: bool,
    /// Objects of others that were not true when last looked at, by uid.
    doubted: BTreeSet<String>,
    /// When to look at all objects again.
    look_due: Instant,
}

impl<K: Status> Statuses<K> {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        node: &str,
        news: mpsc::Sender<News>,
        limit: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            node: OfNode::new(client, node),
            news,
            limit,
            there: None,
            began: false,
            doubted: BTreeSet::new(),
            look_due: clock::instant(),
        }
    }

    /// Until it is to be quiet.
    pub(super) async fn run(
        mut self,
        mut decided: watch::Receiver<Decided>,
        mut terms: watch::Receiver<Option<Term>>,
        mut quiet: watch::Receiver<bool>,
    ) {
        let mut due = None;
        let mut retry = RETRY;
        let mut last = LastFailure::default();
        while woken(due, &mut decided, &mut terms, &mut quiet).await {
            let now = decided.borrow_and_update().clone();
            // What has not been read yet is no empty cluster.
            if now.epoch.is_none() {
                continue;
            }
            let holds = terms.borrow_and_update().is_some_and(|t| !t.is_over());
            let outcome = tokio::select! {
                () = quieted(&mut quiet) => return,
                outcome = self.round(&now, holds) => outcome,
            };
            due = Some(match outcome {
                Ok(()) => {
                    retry = RETRY;
                    self.look_due
                }
                Err(_) => {
                    self.there = None;
                    let due = clock::instant() + retry;
                    retry = (retry * 2).min(RETRY_LONGEST);
                    due
                }
            });
            if let Some(reason) = last.new_reason(&outcome) {
                let kind = K::kind(&());
                tracing::warn!(%kind, "what this node announces is not written: {reason}");
            }
            tokio::select! {
                () = quieted(&mut quiet) => return,
                () = tokio::time::sleep(PACE) => {}
            }
        }
    }

    async fn round(&mut self, decided: &Decided, holds: bool) -> Result<(), String> {
        let mut there = match self.there.take() {
            Some(there) if clock::instant() < self.look_due => there,
            _ => {
                let began = clock::instant();
                if holds {
                    self.sweep(decided).await?;
                }
                self.node.look(self.limit).await?;
                let own = self.own().await?;
                let pause = (began.elapsed() * LOOK_PAUSES).max(LOOK_EVERY);
                self.look_due = clock::instant() + pause;
                own
            }
        };
        let told = K::told(decided);
        let gone = there
            .iter()
            .filter(|(service, _)| !told.contains_key(service));
        let gone: Vec<_> = gone
            .map(|(service, row)| (service.clone(), row.name.clone()))
            .collect();
        for (service, name) in gone {
            self.delete(&name, None).await?;
            there.remove(&service);
        }
        let differs = told.into_iter().filter_map(|(service, names)| {
            let there = there.get(&service);
            let same = there.is_some_and(|row| row.says.as_ref() == Some(&names));
            (!same).then(|| Change {
                there: there.map(|row| row.name.clone()),
                service,
                names,
            })
        });
        // Owned: futures of what is borrowed cannot be sent to another thread.
        let differs: Vec<_> = differs.collect();
        let this = &*self;
        let written = stream::iter(differs).map(|change| this.write(change));
        let written: Vec<_> = written.buffered(AT_ONCE).try_collect().await?;
        let mut new = BTreeSet::new();
        for (service, row) in written {
            if there.insert(service.clone(), row).is_none() {
                new.insert(service);
            }
        }
        self.say(decided, &new);
        if K::ONE_NODE && self.began && !new.is_empty() {
            self.take_over(&new).await?;
        }
        self.began = true;
        self.there = Some(there);
        Ok(())
    }

    /// This node's objects.
    async fn own(&self) -> Result<BTreeMap<ServiceName, Row>, String> {
        let mut own = BTreeMap::new();
        let mine = format!("{}={},{}", of_node::NODE, self.node.name(), of_node::ours());
        let page = |parameters| async move { self.api.list(&parameters).await };
        let row = |object: K| {
            let says = object.says();
            let name = object.name_any();
            Some((service(object.labels())?, Row { name, says }))
        };
        for (service, row) in list_all(self.limit, &mine, page, row).await? {
            if let Some(twice) = own.insert(service, row) {
                self.delete(&twice.name, None).await?;
            }
        }
        Ok(own)
    }

    async fn write(&self, change: Change) -> Result<(ServiceName, Row), String> {
        let Change {
            service,
            names,
            there,
        } = change;
        let name = match there {
            Some(name) => name,
            None => {
                let mut metadata = self.node.metadata();
                let labels = [
                    (of_node::NODE, self.node.name()),
                    (SERVICE_NAME, &*service.name),
                    (SERVICE_NAMESPACE, &*service.namespace),
                ];
                let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
                metadata.labels.get_or_insert_default().extend(labels);
                metadata.generate_name = Some(K::PREFIX.to_owned());
                let object = K::with(metadata);
                let made = in_time(self.limit, self.api.create(&making(), &object)).await?;
                made.name_any()
            }
        };
        let (field, value) = K::field(&names);
        let status = json!({
            "node": self.node.name(),
            "serviceName": &*service.name,
            "serviceNamespace": &*service.namespace,
            field: value,
        });
        let apply = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name },
            "status": status,
        });
        in_time(self.limit, apply_status(&self.api, &name, &apply)).await?;
        let says = Some(names);
        Ok((service, Row { name, says }))
    }

    /// Tells the owners of Services that this node announces them from now on.
    fn say(&self, decided: &Decided, new: &BTreeSet<ServiceName>) {
        for service in new {
            let Some(handle) = decided.handles.get(service) else {
                continue;
            };
            let (node, protocol) = (self.node.name(), K::PROTOCOL);
            let event = ipam::Event {
                kind: ipam::EventKind::Normal,
                reason: "nodeAssigned",
                // Scripts look for it, as MetalLB says it.
                message: format!("announcing from node {node:?} with protocol {protocol:?}"),
            };
            let about = About::service(service, &handle.uid);
            tell(&self.news, about, event);
        }
    }

    /// Takes away what other nodes say of Services that this one announces now.
    async fn take_over(&self, new: &BTreeSet<ServiceName>) -> Result<(), String> {
        for object in self.all().await? {
            if object.node != self.node.name() && new.contains(&object.service) {
                self.delete(&object.name, Some(object.uid)).await?;
            }
        }
        Ok(())
    }

    /// Takes away what nobody else does.
    async fn sweep(&mut self, decided: &Decided) -> Result<(), String> {
        let all = self.all().await?;
        let is_true = K::is_true(decided);
        let wrong = all.into_iter().filter(|o| !is_true(&o.node, &o.service));
        let wrong: Vec<_> = wrong.filter(|o| o.node != self.node.name()).collect();
        drop(is_true);
        let doubted = wrong.iter().map(|object| object.uid.clone()).collect();
        let before = std::mem::replace(&mut self.doubted, doubted);
        for object in wrong {
            if before.contains(&object.uid) {
                self.delete(&object.name, Some(object.uid)).await?;
            }
        }
        Ok(())
    }

    /// The objects of all nodes, without what they say.
    async fn all(&self) -> Result<Vec<Theirs>, String> {
        let page = |parameters| async move { self.api.list_metadata(&parameters).await };
        let theirs = |object: PartialObjectMeta<K>| {
            Some(Theirs {
                service: service(object.labels())?,
                node: object.labels().get(of_node::NODE)?.clone(),
                uid: object.uid()?,
                name: object.name_any(),
            })
        };
        list_all(self.limit, &of_node::ours(), page, theirs).await
    }

    /// One that is gone, or another one by now, is well too.
    async fn delete(&self, name: &str, uid: Option<String>) -> Result<(), String> {
        let parameters = DeleteParams {
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let answer = async {
            match self.api.delete(name, &parameters).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                answer => answer.map(drop),
            }
        };
        in_time(self.limit, answer).await
    }
}

/// What is to be written.
struct Change {
    service: ServiceName,
    names: BTreeSet<String>,
    /// The name of the object, where there is one.
    there: Option<String>,
}

/// An object of some node.
struct Theirs {
    service: ServiceName,
    node: String,
    uid: String,
    name: String,
}

fn service(labels: &BTreeMap<String, String>) -> Option<ServiceName> {
    let label = |key| labels.get(key).map(String::as_str);
    Some(ServiceName::new(
        label(SERVICE_NAMESPACE)?,
        label(SERVICE_NAME)?,
    ))
}
