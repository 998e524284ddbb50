//! Holds the Lease, or waits for it: `lb_core::lease` over the API.
//!
//! One task. Whoever writes looks at the [`Term`] first: it says until when,
//! and as of which epoch of the facts. It ends on request, and then gives the
//! Lease up, so that the next one need not wait.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use kube::api::{GetParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use lb_core::fence::{Arbiter, Doubts, Witness, identity};
use lb_core::lease::{Election, Outcome, Record, Timing, Write};
use lb_core::model::NodeName;
use lb_core::time::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::Epoch;
use crate::source::kube::follow::text;
use crate::{clock, random};

/// The Lease's name.
pub(super) const NAME: &str = "corten";

/// We are the one who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Facts about Services that are older than this are not to be acted upon:
    /// somebody else may have written since.
    pub(super) epoch: u64,
    pub(super) until: Timestamp,
    /// Nobody has held it before.
    pub(super) first: bool,
}

impl Term {
    pub(super) fn is_over(&self) -> bool {
        clock::now() >= self.until
    }
}

#[derive(Debug)]
pub(super) struct Candidate {
    leases: Api<Lease>,
    election: Election,
    identity: String,
    timing: Timing,
    /// Since when the Lease is ours, for people.
    acquired: Option<MicroTime>,
    epoch: Epoch,
    terms: watch::Sender<Option<Term>>,
    /// What the Lease says about who lives, for the fence.
    witness: Witness,
    fence: Fence,
}

/// The ways from and to the fence.
#[derive(Clone, Debug)]
pub struct Fence {
    pub doubts: watch::Receiver<Doubts>,
    pub arbiter: watch::Sender<Arbiter>,
}

impl Fence {
    /// One that is never in doubt.
    #[must_use]
    pub fn none() -> Self {
        let (_, doubts) = watch::channel(Doubts::default());
        let (arbiter, _) = watch::channel(Arbiter::Unknown);
        Self { doubts, arbiter }
    }
}

impl Candidate {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        node: &str,
        timing: Timing,
        epoch: Epoch,
        terms: watch::Sender<Option<Term>>,
        fence: Fence,
    ) -> Self {
        let node = NodeName::new(node);
        let identity = identity(&node, random::number());
        Self {
            leases: Api::namespaced(client, namespace),
            election: Election::new(&identity, timing),
            identity,
            timing,
            acquired: None,
            epoch,
            terms,
            witness: Witness::new(node),
            fence,
        }
    }

    /// Until it is told to give up.
    pub(super) async fn run(mut self, mut give_up: oneshot::Receiver<()>) {
        let mut said = None;
        loop {
            let doubts = self.fence.doubts.borrow_and_update().clone();
            self.witness.doubt(doubts, clock::now());
            let failure = tokio::select! {
                failure = self.round() => failure.err(),
                _ = &mut give_up => break,
            };
            self.tell_fence();
            if said != failure {
                match &failure {
                    Some(reason) => tracing::warn!("the Lease {NAME} cannot be used: {reason}"),
                    None => tracing::info!("the Lease {NAME} can be used again"),
                }
                said.clone_from(&failure);
            }
            let next = clock::instant() + self.pause(failure.is_some());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.wait_for_doubts() => {}
                _ = &mut give_up => break,
            }
        }
        self.release().await;
    }

    /// How long until the next round.
    fn pause(&self, failed: bool) -> Duration {
        let pause = self.election.pause(failed, clock::now());
        // All agents look; not all at once.
        let more = u64::try_from(pause.as_millis() / 8).unwrap_or(0);
        let pause = pause - pause / 8 + Duration::from_millis(random::below(more));
        let holds = self.election.holds(clock::now()).is_some();
        self.witness
            .pause(holds)
            .map_or(pause, |hurried| hurried.min(pause))
    }

    /// Until the fence is in doubt about more than before.
    async fn wait_for_doubts(&mut self) {
        while self.fence.doubts.changed().await.is_ok() {
            let doubts = self.fence.doubts.borrow_and_update().clone();
            let hurries = self.witness.doubt(doubts, clock::now());
            self.tell_fence();
            if hurries {
                return;
            }
        }
        // There is no fence any more, and nobody to ask for.
        std::future::pending::<()>().await;
    }

    fn tell_fence(&self) {
        let finding = self.witness.finding();
        self.fence.arbiter.send_if_modified(|last| {
            let changed = *last != finding;
            *last = finding;
            changed
        });
    }

    /// Looks at the Lease, and writes it if it is ours to write.
    async fn round(&mut self) -> Result<(), String> {
        let holds = self.election.holds(clock::now()).is_some();
        if !holds {
            self.terms.send_replace(None);
        }
        self.look(holds).await?;
        let Some(write) = self.election.attempt(clock::now()) else {
            return Ok(());
        };
        self.write(&write).await
    }

    async fn look(&mut self, holds: bool) -> Result<(), String> {
        // Who waits may see what a cache has; a write is refused all the same
        // if that is old. Who holds must not be told of an older holder, and who
        // asks whether the holder lives must not be told of the past.
        let parameters = if holds || self.witness.pause(holds).is_some() {
            GetParams::default()
        } else {
            GetParams::any()
        };
        let began = clock::now();
        let record = match self
            .in_time(self.leases.get_with(NAME, &parameters))
            .await?
        {
            Ok(lease) => Some(record(&lease)),
            Err(kube::Error::Api(status)) if status.is_not_found() => None,
            Err(error) => return Err(text(&error)),
        };
        self.witness.read(record.as_ref(), began, clock::now());
        self.election.saw(record, clock::now());
        Ok(())
    }

    async fn write(&mut self, write: &Write) -> Result<(), String> {
        let began = clock::now();
        let lease = self.lease(write);
        let parameters = PostParams::default();
        let answer = match write.replaces {
            None => self.in_time(self.leases.create(&parameters, &lease)).await,
            Some(_) => {
                self.in_time(self.leases.replace(NAME, &parameters, &lease))
                    .await
            }
        };
        let (outcome, result) = match answer {
            Ok(Ok(there)) => (Outcome::Written(record(&there).version), Ok(())),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => (Outcome::Conflict, Ok(())),
            Ok(Err(error)) => (Outcome::Failed, Err(text(&error))),
            Err(late) => (Outcome::Failed, Err(late)),
        };
        if let Outcome::Written(version) = &outcome
            && write.holder == self.identity
        {
            self.witness.renewed(version, began);
        }
        self.election.wrote(write, outcome, began, clock::now());
        self.announce(write.transitions == 0);
        result
    }

    /// Tells those who write.
    fn announce(&mut self, first: bool) {
        let until = self.election.holds(clock::now());
        let before = *self.terms.borrow();
        let term = match (until, before) {
            (None, _) => None,
            (Some(until), Some(term)) if !term.is_over() => Some(Term { until, ..term }),
            (Some(until), _) => {
                let epoch = self.epoch.next();
                tracing::info!(
                    identity = self.identity,
                    "this agent writes addresses from now on"
                );
                Some(Term {
                    epoch,
                    until,
                    first,
                })
            }
        };
        if term.is_none() && before.is_some() {
            tracing::info!("another agent writes addresses from now on");
        }
        if term.is_none() {
            self.acquired = None;
        }
        self.terms.send_replace(term);
    }

    async fn release(&mut self) {
        self.terms.send_replace(None);
        // A renewal that was broken off may have been written all the same;
        // then the first try is refused.
        for _ in 0..2 {
            let Some(write) = self.election.release() else {
                return;
            };
            let mut done = self.write(&write).await;
            if done.is_ok() && self.election.release().is_some() {
                done = self.look(true).await;
            }
            if let Err(reason) = done {
                tracing::warn!("the Lease {NAME} is not given up, and lapses: {reason}");
                return;
            }
        }
    }

    fn lease(&mut self, write: &Write) -> Lease {
        let now = MicroTime(wall());
        if write.acquires || self.acquired.is_none() {
            self.acquired = Some(now.clone());
        }
        let seconds = self.timing.duration.as_secs().max(1);
        Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                resource_version: write.replaces.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(write.holder.clone()),
                lease_duration_seconds: i32::try_from(seconds).ok(),
                lease_transitions: Some(write.transitions),
                acquire_time: self.acquired.clone(),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, String> {
        let limit = self.timing.duration - self.timing.trust;
        let late = |_| format!("no answer within {limit:?}");
        timeout(limit, answer).await.map_err(late)
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0),
    }
}

/// What people's clocks say; nothing is decided by it.
pub(super) fn wall() -> jiff::Timestamp {
    let micros = i64::try_from(clock::wall().as_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX)
}
