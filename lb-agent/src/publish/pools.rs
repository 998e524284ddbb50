//! Writes how much of each pool is given away into the status of its
//! IPAddressPool. Only while we hold the Lease; nothing is decided by it, so a
//! number that is late or said twice does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Api, Client};
use lb_core::ipam::PoolUse;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::election::Term;
use super::request::{apply_status, in_time};
use super::{Decided, woken};
use crate::clock;
use crate::crd::IPAddressPool;

const RETRY: Duration = Duration::from_secs(5);

pub(super) struct Pools {
    pools: Api<IPAddressPool>,
    limit: Duration,
    /// What we have written; none: there is no such object. The pools of a
    /// ConfigMap have none.
    written: BTreeMap<String, PoolUse>,
    /// Of the Lease that it was written under.
    epoch: Option<u64>,
    due: Option<Instant>,
}

impl Pools {
    pub(super) fn new(client: Client, namespace: &str, limit: Duration) -> Self {
        Self {
            pools: Api::namespaced(client, namespace),
            limit,
            written: BTreeMap::new(),
            epoch: None,
            due: None,
        }
    }

    /// Until it is to be quiet.
    pub(super) async fn run(
        mut self,
        mut decided: watch::Receiver<Decided>,
        mut terms: watch::Receiver<Option<Term>>,
        mut quiet: watch::Receiver<bool>,
    ) {
        while woken(self.due, &mut decided, &mut terms, &mut quiet).await {
            self.due = None;
            let epoch = terms.borrow_and_update().map(|term| term.epoch);
            if self.epoch != epoch {
                // Others may have written meanwhile.
                self.written.clear();
                self.epoch = epoch;
            }
            let now = decided.borrow_and_update().clone();
            if now.config.good.is_some() {
                self.round(&now, &terms).await;
            }
        }
    }

    async fn round(&mut self, decided: &Decided, terms: &watch::Receiver<Option<Term>>) {
        let pools = &decided.assignment.pools;
        self.written.retain(|pool, _| pools.contains_key(pool));
        for (pool, used) in pools {
            let term = *terms.borrow();
            if term.is_none_or(|term| term.is_over()) {
                return;
            }
            if self.written.get(pool) == Some(used) {
                continue;
            }
            match self.write(pool, used).await {
                Ok(()) => {
                    self.written.insert(pool.clone(), *used);
                }
                Err(reason) => {
                    tracing::warn!(%pool, "its status is not written: {reason}");
                    self.due = Some(clock::instant() + RETRY);
                    return;
                }
            }
        }
    }

    async fn write(&self, pool: &str, used: &PoolUse) -> Result<(), String> {
        let object = apply(pool, used);
        let answer = async {
            match apply_status(&self.pools, pool, &object).await {
                // Gone, or never an object.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                answer => answer.map(drop),
            }
        };
        in_time(self.limit, answer).await
    }
}

fn apply(pool: &str, used: &PoolUse) -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": { "name": pool },
        "status": {
            "assignedIPv4": used.assigned_v4,
            "assignedIPv6": used.assigned_v6,
            "availableIPv4": used.available_v4,
            "availableIPv6": used.available_v6,
        },
    })
}
