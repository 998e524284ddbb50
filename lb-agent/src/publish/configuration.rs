//! Writes `ConfigurationState`: whether the configuration is used, and why not.
//!
//! MetalLB has one for its controller and one for each speaker. Here
//! `speaker-<node>` is written by that node's agent, about the configuration
//! that it goes by, and `controller` by the holder of the Lease, about the one
//! that addresses are given by. The holder also tells each object that is
//! wrong, by an event.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{ApiResource, DynamicObject, ListParams, ObjectMeta};
use kube::{Api, Client, ResourceExt};
use lb_core::config::{Kept, Kind, ObjectName, Refused};
use lb_core::ipam;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::election::{Term, wall};
use super::events::{About, News, tell};
use super::of_node::{self, OfNode};
use super::request::{LastFailure, apply_status, in_time, making};
use super::{Decided, quieted, woken};
use crate::clock;
use crate::crd::{
    ConfigurationState, ConfigurationStateSpec, ConfigurationStateStatus, GROUP, Validity,
};

/// What others did to our objects is seen after this.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
/// Mistakes that are listed.
const LINES_MOST: usize = 50;

const COMPONENT: &str = "metallb.io/component-type";
const NODE_NAME: &str = "metallb.io/node-name";

/// Who goes by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The agent of this node.
    Speaker,
    /// Whoever gives addresses.
    Controller,
}

/// What is said of it.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    validity: Validity,
    summary: Option<String>,
}

pub(super) struct Configuration {
    client: Client,
    api: Api<ConfigurationState>,
    namespace: String,
    node: OfNode,
    news: mpsc::Sender<News>,
    limit: Duration,
    written: BTreeMap<Part, Verdict>,
    looked: Option<Instant>,
    /// Mistakes that were told to their objects.
    told: BTreeSet<(ObjectName, String)>,
}

impl Configuration {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        node: &str,
        news: mpsc::Sender<News>,
        limit: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            node: OfNode::new(client.clone(), node),
            client,
            namespace: namespace.to_owned(),
            news,
            limit,
            written: BTreeMap::new(),
            looked: None,
            told: BTreeSet::new(),
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
        let mut last = LastFailure::default();
        while woken(due, &mut decided, &mut terms, &mut quiet).await {
            let config = decided.borrow_and_update().config.clone();
            let holds = terms.borrow_and_update().is_some_and(|t| !t.is_over());
            // It has not been read yet.
            if config.good.is_none() && config.refused.is_empty() {
                continue;
            }
            let outcome = tokio::select! {
                () = quieted(&mut quiet) => return,
                outcome = self.round(&config, holds) => outcome,
            };
            due = Some(match outcome {
                Ok(()) => self.looked.unwrap_or_else(clock::instant) + LOOK_EVERY,
                Err(_) => clock::instant() + RETRY,
            });
            if let Some(reason) = last.new_reason(&outcome) {
                tracing::warn!("the ConfigurationState is not written: {reason}");
            }
        }
    }

    async fn round(&mut self, config: &Kept, holds: bool) -> Result<(), String> {
        let now = clock::instant();
        if self.looked.is_none_or(|looked| now >= looked + LOOK_EVERY) {
            self.written.clear();
            self.node.look(self.limit).await?;
            self.looked = Some(now);
        }
        if !holds {
            self.written.remove(&Part::Controller);
        }
        let verdict = Verdict::of(config);
        for part in [Part::Speaker, Part::Controller] {
            let ours = part == Part::Speaker || holds;
            if ours && self.written.get(&part) != Some(&verdict) {
                self.write(part, &verdict).await?;
                self.written.insert(part, verdict.clone());
            }
        }
        if holds {
            self.tell(config).await?;
        }
        Ok(())
    }

    async fn write(&self, part: Part, verdict: &Verdict) -> Result<(), String> {
        let metadata = self.metadata(part);
        let name = metadata.name.clone().unwrap_or_default();
        let there = in_time(self.limit, self.api.get_opt(&name)).await?;
        let object = ConfigurationState {
            metadata,
            spec: ConfigurationStateSpec {},
            status: None,
        };
        let there = match there {
            Some(there) => there,
            None => in_time(self.limit, self.api.create(&making(), &object)).await?,
        };
        let conditions = there.status.and_then(|status| status.conditions);
        let before = conditions.into_iter().flatten();
        let before = before.into_iter().find(|c| c.type_ == part.condition());
        let apply = json!({
            "apiVersion": format!("{GROUP}/v1beta1"),
            "kind": "ConfigurationState",
            "metadata": { "name": name },
            "status": verdict.status(part, before.as_ref(), Time(wall())),
        });
        in_time(self.limit, apply_status(&self.api, &name, &apply)).await?;
        Ok(())
    }

    fn metadata(&self, part: Part) -> ObjectMeta {
        let node = self.node.name();
        let (name, metadata, labels) = match part {
            Part::Controller => (
                "controller".to_owned(),
                of_node::managed(),
                vec![(COMPONENT, "controller")],
            ),
            Part::Speaker => (
                format!("speaker-{node}"),
                self.node.metadata(),
                vec![(COMPONENT, "speaker"), (NODE_NAME, node)],
            ),
        };
        let labels = labels
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut all = metadata.labels.unwrap_or_default();
        all.extend(labels);
        ObjectMeta {
            name: Some(name),
            labels: Some(all),
            ..metadata
        }
    }

    /// Tells each object that is wrong, once.
    async fn tell(&mut self, config: &Kept) -> Result<(), String> {
        let of = |refused: &Refused| {
            let text = format!("{}: {}", refused.field, refused.reason);
            (refused.object.clone(), text)
        };
        let refused = config.refused.iter().take(LINES_MOST);
        let refused: Vec<_> = refused.map(|refused| (of(refused), refused)).collect();
        let still: BTreeSet<_> = refused.iter().map(|(told, _)| told).collect();
        self.told.retain(|told| still.contains(told));
        let follows = match config.good {
            Some(_) => "the last good configuration is used as a whole",
            None => "there is no good configuration yet",
        };
        for (told, refused) in &refused {
            if self.told.contains(told) {
                continue;
            }
            if let Some(about) = self.about(&refused.object).await? {
                let event = ipam::Event {
                    kind: ipam::EventKind::Warning,
                    reason: refused.reason.name(),
                    message: format!("{}; {follows}", told.1),
                };
                tell(&self.news, about, event);
            }
            self.told.insert(told.clone());
        }
        Ok(())
    }

    /// The object of that name; none: it is gone.
    async fn about(&self, object: &ObjectName) -> Result<Option<About>, String> {
        let (api_version, kind, plural) = resource(object);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let field = format!("metadata.name={}", object.name);
        let parameters = ListParams::default().fields(&field);
        let found = in_time(self.limit, api.list_metadata(&parameters)).await?;
        let uid = found.items.first().and_then(ResourceExt::uid);
        Ok(uid.map(|uid| About {
            api_version,
            kind,
            namespace: self.namespace.clone(),
            name: object.name.clone(),
            uid,
        }))
    }
}

/// Its `apiVersion`, kind and name in URLs.
fn resource(object: &ObjectName) -> (&'static str, &'static str, &'static str) {
    let Some(kind) = Kind::of(object.kind) else {
        return ("v1", "ConfigMap", "configmaps");
    };
    let (api, plural) = match kind {
        Kind::IpAddressPool => ("metallb.io/v1beta1", "ipaddresspools"),
        Kind::L2Advertisement => ("metallb.io/v1beta1", "l2advertisements"),
        Kind::BgpAdvertisement => ("metallb.io/v1beta1", "bgpadvertisements"),
        Kind::BgpPeer => ("metallb.io/v1beta2", "bgppeers"),
        Kind::Community => ("metallb.io/v1beta1", "communities"),
        Kind::BfdProfile => ("metallb.io/v1beta1", "bfdprofiles"),
    };
    (api, kind.name(), plural)
}

impl Part {
    /// The type of its condition, as MetalLB names it.
    const fn condition(self) -> &'static str {
        match self {
            Self::Speaker => "configReconcilerValid",
            Self::Controller => "poolReconcilerValid",
        }
    }
}

impl Verdict {
    fn of(config: &Kept) -> Self {
        let refused = &config.refused;
        if refused.is_empty() {
            return Self {
                validity: Validity::Valid,
                summary: None,
            };
        }
        let mut summary = String::new();
        for (number, refused) in refused.iter().take(LINES_MOST).enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            // Writing to a String does not fail.
            let _written = write!(summary, "{end}configuration error: {refused}");
        }
        if let Some(more @ 1..) = refused.len().checked_sub(LINES_MOST) {
            let _written = write!(summary, "\nand {more} more");
        }
        Self {
            validity: Validity::Invalid,
            summary: Some(summary),
        }
    }

    /// The status, which since then has been the same as before if it was.
    fn status(
        &self,
        part: Part,
        before: Option<&Condition>,
        now: Time,
    ) -> ConfigurationStateStatus {
        let (status, reason) = match self.validity {
            Validity::Valid => ("True", "Reconciled"),
            Validity::Invalid => ("False", "ConfigurationError"),
            Validity::Unknown => ("Unknown", "UnknownError"),
        };
        let same = before.filter(|before| before.status == status);
        ConfigurationStateStatus {
            result: Some(self.validity),
            error_summary: self.summary.clone(),
            conditions: Some(vec![Condition {
                type_: part.condition().to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: self.summary.clone().unwrap_or_default(),
                last_transition_time: same.map_or(now, |same| same.last_transition_time.clone()),
                observed_generation: None,
            }]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use k8s_openapi::jiff::Timestamp;
    use lb_core::config::Reason;

    fn refused(number: usize) -> Kept {
        let refused = (0..number).map(|n| Refused {
            object: ObjectName {
                kind: "IPAddressPool",
                name: format!("pool{n}"),
            },
            field: "spec.addresses[0]".to_owned(),
            reason: Reason::MissingName,
        });
        Kept {
            good: None,
            refused: Arc::new(refused.collect()),
        }
    }

    #[test]
    fn every_mistake_is_a_line_up_to_a_number() {
        assert_eq!(Verdict::of(&Kept::default()).summary, None);
        for (number, lines) in [(1, 1), (2, 2), (50, 50), (51, 51), (500, 51)] {
            let verdict = Verdict::of(&refused(number));
            assert_eq!(verdict.validity, Validity::Invalid);
            let text = verdict.summary.unwrap();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(
                text.starts_with("configuration error: IPAddressPool pool0: spec.addresses[0]")
            );
            assert_eq!(text.contains("and 450 more"), number == 500);
        }
    }

    #[test]
    fn a_condition_tells_since_when_it_is_so() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let (good, bad) = (Verdict::of(&Kept::default()), Verdict::of(&refused(1)));
        let condition = |verdict: &Verdict, before: Option<&Condition>, now| {
            let status = verdict.status(Part::Controller, before, at(now));
            status.conditions.unwrap().remove(0)
        };
        let first = condition(&good, None, 1);
        assert_eq!(
            (&*first.type_, &*first.status),
            ("poolReconcilerValid", "True")
        );
        assert_eq!(
            condition(&good, Some(&first), 2).last_transition_time,
            at(1)
        );
        let second = condition(&bad, Some(&first), 3);
        assert_eq!(second.last_transition_time, at(3));
        assert_eq!(second.reason, "ConfigurationError");
        let other = condition(&Verdict::of(&refused(2)), Some(&second), 4);
        assert_eq!(
            other.last_transition_time,
            at(3),
            "still wrong, in another way"
        );
    }
}
