//! Events, as `kubectl describe` shows them.
//!
//! They are said once: what was said of an object is remembered until it
//! changes, by the process that said it. Losing one does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use lb_core::ipam;
use lb_core::model::ServiceName;
use tokio::sync::{mpsc, watch};

use super::election::wall;
use super::request::in_time;
use super::{MANAGER, quieted};
use crate::random;

/// For one of them.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest message that the API server takes is longer (1 KiB).
const MESSAGE_MOST: usize = 1000;

/// Something to be said of an object.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) about: About,
    pub(super) event: ipam::Event,
}

/// An object in a namespace.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Without it, `kubectl describe` does not find what is said.
    pub(super) uid: String,
}

impl About {
    pub(super) fn service(service: &ServiceName, uid: &str) -> Self {
        Self {
            api_version: "v1",
            kind: "Service",
            namespace: service.namespace.to_string(),
            name: service.name.to_string(),
            uid: uid.to_owned(),
        }
    }
}

/// Has it said. A queue that is full means that the API server is slow, and
/// events are not worth waiting for.
pub(super) fn tell(news: &mpsc::Sender<News>, about: About, event: ipam::Event) {
    if news.try_send(News { about, event }).is_err() {
        tracing::warn!("too many events at once: one is not said");
    }
}

pub(super) struct Events {
    client: Client,
    node: String,
}

impl Events {
    pub(super) fn new(client: Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
        }
    }

    /// Says what it is told, one after the other, until it is to be quiet.
    pub(super) async fn run(
        self,
        mut news: mpsc::Receiver<News>,
        mut quiet: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = quieted(&mut quiet) => return,
                news = news.recv() => match news {
                    Some(news) => self.say(&news).await,
                    None => return,
                },
            }
        }
    }

    async fn say(&self, News { about, event }: &News) {
        let (kind, reason) = (event.kind.as_str(), event.reason);
        let object = format!("{} {}/{}", about.kind, about.namespace, about.name);
        tracing::info!(object, reason, "{}", event.message);
        let events: Api<Event> = Api::namespaced(self.client.clone(), &about.namespace);
        let event = self.event(about, kind, reason, &event.message);
        if let Err(why) = in_time(LIMIT, events.create(&PostParams::default(), &event)).await {
            tracing::warn!(object, reason, "the event is not said: {why}");
        }
    }

    fn event(&self, about: &About, kind: &str, reason: &str, message: &str) -> Event {
        let now = wall();
        let object = ObjectReference {
            api_version: Some(about.api_version.to_owned()),
            kind: Some(about.kind.to_owned()),
            name: Some(about.name.clone()),
            namespace: Some(about.namespace.clone()),
            uid: Some(about.uid.clone()),
            ..ObjectReference::default()
        };
        let mut message = message.to_owned();
        message.truncate(message.floor_char_boundary(MESSAGE_MOST));
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:016x}", about.name, random::number())),
                namespace: Some(about.namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: object,
            reason: Some(reason.to_owned()),
            message: Some(message),
            type_: Some(kind.to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            event_time: None::<MicroTime>,
            source: Some(EventSource {
                component: Some(MANAGER.to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        }
    }
}

/// What has been said of each Service.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<ServiceName, (String, Vec<ipam::Event>)>);

impl Said {
    /// What is to be said now of a Service, of this identity.
    pub(super) fn news(
        &mut self,
        service: &ServiceName,
        uid: &str,
        events: &[ipam::Event],
    ) -> Vec<ipam::Event> {
        if events.is_empty() {
            self.0.remove(service);
            return Vec::new();
        }
        let before = self
            .0
            .insert(service.clone(), (uid.to_owned(), events.to_vec()));
        let before = before.filter(|(of, _)| of == uid).map(|(_, events)| events);
        let before = before.unwrap_or_default();
        let new = events.iter().filter(|event| !before.contains(event));
        new.cloned().collect()
    }

    /// Forgets those that are gone.
    pub(super) fn keep(&mut self, is_there: impl Fn(&ServiceName) -> bool) {
        self.0.retain(|service, _| is_there(service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_until_it_passes_or_the_service_is_another() {
        let event = |message: &str| ipam::Event {
            kind: ipam::EventKind::Warning,
            reason: "AllocationFailed",
            message: message.to_owned(),
        };
        let web = ServiceName::new("default", "web");
        let mut said = Said::default();
        assert_eq!(said.news(&web, "1", &[event("full")]), [event("full")]);
        assert_eq!(said.news(&web, "1", &[event("full")]), []);
        let both = [event("full"), event("other")];
        assert_eq!(said.news(&web, "1", &both), [event("other")]);
        assert_eq!(said.news(&web, "2", &both), both, "another of that name");
        assert_eq!(said.news(&web, "2", &[]), []);
        assert_eq!(said.news(&web, "2", &both), both, "it had passed");
        said.keep(|_| false);
        assert_eq!(said.news(&web, "2", &both), both);
    }
}
