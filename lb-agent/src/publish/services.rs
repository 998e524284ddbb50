//! Writes what was decided into the statuses of Services, and says so.
//!
//! One task; only while we hold the Lease. Two Services must never have one
//! address, so nothing is written upon facts that do not show yet what was
//! written before: a round begins when all objects of the last one have been
//! seen in another version. Where it is not known what became of a write,
//! everything is listed anew first. Addresses that are taken away in one round
//! are given to others in a later one, since they are free when that is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use lb_core::lease::Timing;
use lb_core::model::ServiceName;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::election::Term;
use super::events::{About, News, Said, tell};
use super::plan::{Write, writes};
use super::request::apply_status;
use super::{Decided, Epoch, MANAGER, request_limit, woken};
use crate::clock;
use crate::source::kube::follow::text;

/// Writes at once.
const AT_ONCE: usize = 8;
/// After something has gone wrong; doubled until the longest.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

pub(super) struct Services {
    client: Client,
    events: mpsc::Sender<News>,
    epoch: Epoch,
    limit: Duration,
    /// What we wrote and have not seen again: the version that was replaced.
    unseen: BTreeMap<ServiceName, String>,
    /// Versions that stay as they are, whatever we write.
    futile: BTreeMap<ServiceName, String>,
    /// Facts older than this are not acted upon.
    floor: u64,
    said: Said,
    retry: Duration,
    due: Option<Instant>,
}

/// What became of a write.
#[derive(Debug)]
enum Outcome {
    Written,
    /// It said so already, in a way of its own.
    Futile,
    /// The object is another one by now, or gone.
    Outdated,
    /// Not begun: somebody else may write by now.
    TermOver,
    Refused(String),
    Unknown(String),
}

impl Services {
    pub(super) fn new(
        client: Client,
        events: mpsc::Sender<News>,
        epoch: Epoch,
        timing: Timing,
    ) -> Self {
        Self {
            client,
            events,
            epoch,
            limit: request_limit(timing),
            unseen: BTreeMap::new(),
            futile: BTreeMap::new(),
            floor: 0,
            said: Said::default(),
            retry: RETRY,
            due: None,
        }
    }

    /// Until it is to be quiet. What is under way then is ended first.
    pub(super) async fn run(
        mut self,
        mut decided: watch::Receiver<Decided>,
        mut terms: watch::Receiver<Option<Term>>,
        mut quiet: watch::Receiver<bool>,
    ) {
        while woken(self.due, &mut decided, &mut terms, &mut quiet).await {
            self.due = None;
            let Some(term) = *terms.borrow_and_update() else {
                continue;
            };
            let now = decided.borrow_and_update().clone();
            self.round(term, &now, &terms).await;
        }
    }

    /// Whether what was decided rests on facts that show all that was written.
    fn may_act(&mut self, term: Term, decided: &Decided) -> bool {
        // No configuration is not an empty one: nothing is taken away.
        let configured = decided.config.good.is_some();
        let fresh = decided.epoch >= Some(term.epoch.max(self.floor));
        if !configured || !fresh {
            return false;
        }
        let still = |service: &ServiceName, version: &String| {
            let handle = decided.handles.get(service);
            handle.is_some_and(|handle| handle.version == *version)
        };
        self.unseen
            .retain(|service, version| still(service, version));
        self.futile
            .retain(|service, version| still(service, version));
        self.unseen.is_empty()
    }

    async fn round(
        &mut self,
        term: Term,
        decided: &Decided,
        terms: &watch::Receiver<Option<Term>>,
    ) {
        if !self.may_act(term, decided) {
            return;
        }
        let mut writes = writes(&decided.assignment, &decided.handles);
        writes.retain(|write| !self.futile.contains_key(&write.service));
        let mut unwritten: BTreeSet<_> = writes.iter().map(|w| w.service.clone()).collect();
        let mut failures = Vec::new();
        let mut unknown = false;
        let this = &*self;
        let outcomes = stream::iter(writes).map(|write| async move {
            let outcome = this.write(term, &write, terms).await;
            (write, outcome)
        });
        let outcomes: Vec<_> = outcomes.buffered(AT_ONCE).collect().await;
        for (write, outcome) in outcomes {
            let Write {
                service, version, ..
            } = write;
            match outcome {
                Outcome::Written => {
                    unwritten.remove(&service);
                    self.unseen.insert(service, version);
                }
                Outcome::Futile => {
                    unwritten.remove(&service);
                    self.futile.insert(service, version);
                }
                Outcome::Outdated => {
                    self.unseen.insert(service, version);
                }
                Outcome::TermOver => {}
                Outcome::Refused(reason) => failures.push((service, reason)),
                Outcome::Unknown(reason) => {
                    unknown = true;
                    failures.push((service, reason));
                }
            }
        }
        self.say(decided, &unwritten);
        self.note(&failures, unknown);
    }

    async fn write(
        &self,
        term: Term,
        write: &Write,
        terms: &watch::Receiver<Option<Term>>,
    ) -> Outcome {
        // It may have been renewed, or have gone, since the round began.
        let current = *terms.borrow();
        if !current.is_some_and(|now| now.epoch == term.epoch && !now.is_over()) {
            return Outcome::TermOver;
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), &write.service.namespace);
        let name = &*write.service.name;
        let answer = async {
            match write.apply() {
                Some(apply) => apply_status(&services, name, &apply).await,
                None => {
                    let parameters = PatchParams {
                        field_manager: Some(MANAGER.to_owned()),
                        ..PatchParams::default()
                    };
                    let merge = write.merge();
                    services
                        .patch_status(name, &parameters, &Patch::Merge(&merge))
                        .await
                }
            }
        };
        match timeout(self.limit, answer).await {
            Ok(Ok(there)) if there.resource_version().as_ref() == Some(&write.version) => {
                Outcome::Futile
            }
            Ok(Ok(_)) => Outcome::Written,
            Ok(Err(kube::Error::Api(status))) => match status.code {
                404 | 409 => Outcome::Outdated,
                400..=499 => Outcome::Refused(status.message.clone()),
                _ => Outcome::Unknown(status.message.clone()),
            },
            Ok(Err(error)) => Outcome::Unknown(text(&error)),
            Err(_late) => Outcome::Unknown(format!("no answer within {:?}", self.limit)),
        }
    }

    /// Says what there is to say of Services whose status is as it should be.
    fn say(&mut self, decided: &Decided, unwritten: &BTreeSet<ServiceName>) {
        let allocations = &decided.assignment.allocations;
        for (service, allocation) in allocations {
            let Some(handle) = decided.handles.get(service) else {
                continue;
            };
            if unwritten.contains(service) {
                continue;
            }
            for event in self.said.news(service, &handle.uid, &allocation.events) {
                let about = About::service(service, &handle.uid);
                tell(&self.events, about, event);
            }
        }
        self.said.keep(|service| allocations.contains_key(service));
    }

    fn note(&mut self, failures: &[(ServiceName, String)], unknown: bool) {
        let Some((service, reason)) = failures.first() else {
            self.retry = RETRY;
            return;
        };
        let more = failures.len() - 1;
        tracing::warn!(%service, more, "its status is not written: {reason}");
        if unknown {
            self.floor = self.epoch.next();
        }
        self.due = Some(clock::instant() + self.retry);
        self.retry = (self.retry * 2).min(RETRY_LONGEST);
    }
}
