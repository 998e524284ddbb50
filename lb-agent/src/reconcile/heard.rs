//! What the reconciler hears, taken into what it computes from.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::limits::UPLINKS_MAX;
use lb_core::model::{Delivery, MemberState, Members, NodeName};
use lb_core::moved::Awaiting;
use tokio::sync::watch;

use super::{Hears, ReconcileError, Reconciler};
use crate::driver::claims::Found;
use crate::driver::fence::Findings;
use crate::net::{NetFacts, Question};
use crate::secret::Known;
use crate::source::State;

/// How long the first run waits for the links of the nodes in the facts.
const LINKS_LIMIT: Duration = Duration::from_secs(3);

/// Nodes that go and do not come back.
pub(super) fn leaving(members: &Members) -> BTreeSet<NodeName> {
    let leaving = members
        .by_node
        .iter()
        .filter(|(_, member)| member.state == MemberState::Leaving && member.left);
    leaving.map(|(node, _)| node.clone()).collect()
}

impl Reconciler {
    /// Waits for facts and for the cluster's secret, and for the answer to the
    /// question that the facts raise. Until then, what the maps say still holds.
    pub(super) async fn first_inputs(&mut self, hears: &mut Hears) -> Result<(), ReconcileError> {
        loop {
            tokio::select! {
                changed = hears.facts.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the source of facts"))?;
                }
                changed = hears.secret.changed() => {
                    changed.map_err(|_closed| ReconcileError::Ended("the cluster's secret"))?;
                }
            }
            let facts = self.take_facts(&mut hears.facts);
            let secret = self.take_secret(&mut hears.secret);
            if facts && secret {
                break;
            }
            self.report.not_ready = self.waits_for(facts, secret);
            self.write_report();
        }
        self.ask(self.direct_pods());
        let question = self.tells.question.borrow().clone();
        let answered = async {
            let mut net = hears.net.clone();
            let mine = |facts: &NetFacts| facts.question.as_ref() == Some(&question);
            net.wait_for(mine).await.map(drop)
        };
        match tokio::time::timeout(LINKS_LIMIT, answered).await {
            Ok(Err(_ended)) => return Err(ReconcileError::Ended("netlink")),
            Ok(Ok(())) => {}
            Err(_late) => tracing::warn!("the links are not known yet; going on without"),
        }
        self.take_net(&mut hears.net);
        Ok(())
    }

    /// False if there is nothing good to take yet.
    pub(super) fn take_facts(&mut self, facts: &mut watch::Receiver<State>) -> bool {
        let state = facts.borrow_and_update().clone();
        for mistake in &state.mistakes {
            if !self.report.mistakes.contains(mistake) {
                tracing::error!("{mistake}; the last good state stays");
            }
        }
        self.report.watches.clone_from(&state.watches);
        if let Some(facts) = &state.facts {
            self.inputs.facts = (**facts).clone();
        }
        let known = state.facts.is_some();
        self.said = state;
        self.note_mistakes();
        known
    }

    /// False if it is not known yet.
    pub(super) fn take_secret(&mut self, secret: &mut watch::Receiver<Known>) -> bool {
        let Known { secrets, failure } = secret.borrow_and_update().clone();
        if let Some(secrets) = &secrets {
            if !self.inputs.secret.is_empty() && self.inputs.secret != secrets.pick {
                tracing::warn!("what seeds the pick is another one: flows go to other pods");
            }
            self.inputs.secret.clone_from(&secrets.pick);
        }
        self.secret_failure = failure;
        self.note_mistakes();
        secrets.is_some()
    }

    fn note_mistakes(&mut self) {
        let all = self.said.mistakes.iter().chain(&self.secret_failure);
        self.report.mistakes = all.cloned().collect();
    }

    /// Why there was no first run yet.
    fn waits_for(&self, facts: bool, secret: bool) -> Vec<String> {
        let reads = &self.settings.reads;
        let facts = (!facts).then(|| format!("nothing good has been read yet from {reads}"));
        let secret = (!secret).then(|| match &self.secret_failure {
            Some(failure) => format!("the cluster's secret is not known yet: {failure}"),
            None => "the cluster's secret is not known yet".to_owned(),
        });
        facts.into_iter().chain(secret).collect()
    }

    /// Whether others are free now.
    pub(super) fn take_findings(&mut self, findings: &mut watch::Receiver<Findings>) -> bool {
        let findings = findings.borrow_and_update().clone();
        let changed = self.inputs.free.as_ref() != Some(&findings.free);
        self.inputs.free = Some(findings.free.clone());
        self.found = findings;
        self.told_standing = false;
        changed
    }

    /// Whether that changes what is answered for.
    pub(super) fn take_found(&mut self, found: &mut watch::Receiver<Found>) -> bool {
        let found = found.borrow_and_update().clone();
        let last = std::mem::replace(&mut self.others, found);
        self.told_standing &= last.contested == self.others.contested;
        (last.free, last.foreign) != (self.others.free.clone(), self.others.foreign.clone())
    }

    /// Whether that changes who may own a VIP.
    pub(super) fn take_members(&mut self, members: &mut watch::Receiver<Members>) -> bool {
        let members = members.borrow_and_update().clone();
        let last = &self.inputs.members;
        let mut known = last.by_node.keys().chain(members.by_node.keys());
        let changed = last.settled != members.settled
            || leaving(last) != leaving(&members)
            || known.any(|node| last.counts(node) != members.counts(node));
        self.inputs.members = members;
        changed
    }

    pub(super) fn take_awaiting(&mut self, awaiting: &mut watch::Receiver<Arc<Awaiting>>) {
        let awaiting = awaiting.borrow_and_update().clone();
        self.talks = awaiting.on;
        self.ledger.hear(awaiting);
    }

    pub(super) fn take_net(&mut self, net: &mut watch::Receiver<NetFacts>) {
        self.net = net.borrow_and_update().clone();
        self.inputs.links = self.net.links.clone();
        if !self.net.uplinks.is_empty() {
            self.uplinks.clone_from(&self.net.uplinks);
            self.uplinks.truncate(UPLINKS_MAX);
            if self.net.uplinks.len() > UPLINKS_MAX {
                tracing::warn!(
                    "more than {UPLINKS_MAX} uplinks: name those that matter with --uplink"
                );
            }
        }
    }

    /// Tells netlink's task what there is to know about.
    pub(super) fn ask(&self, pods: BTreeSet<IpAddr>) {
        let this = &self.settings.node;
        let nodes = &self.inputs.facts.nodes;
        let others = nodes.values().filter(|node| node.name != *this);
        let question = Question {
            own: nodes
                .get(this)
                .map(|node| node.addresses.clone())
                .unwrap_or_default(),
            nodes: others
                .map(|node| (node.name.clone(), node.addresses.clone()))
                .collect(),
            pods,
        };
        self.tells.question.send_if_modified(|last| {
            let changed = *last != question;
            *last = question;
            changed
        });
    }

    /// Pods here that are reached past the stack, from the facts: before the
    /// first run, which must not forget the devices that the maps know.
    fn direct_pods(&self) -> BTreeSet<IpAddr> {
        let direct = self.inputs.facts.services.values();
        let direct = direct.filter(|service| service.delivery == Delivery::Direct);
        let slices = direct.filter_map(|service| self.inputs.facts.slices.get(&service.name));
        slices
            .flat_map(|slices| slices.iter())
            .flat_map(|slice| &slice.endpoints)
            .filter(|endpoint| endpoint.node.as_ref() == Some(&self.settings.node))
            .map(|endpoint| endpoint.address)
            .collect()
    }
}
