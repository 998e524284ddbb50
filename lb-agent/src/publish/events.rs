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
use tokio::time::timeout;

use super::election::wall;
use super::{MANAGER, quieted};
use crate::random;
use crate::source::kube::follow::text;

/// For one of them.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest message that the API server takes is longer (1 KiB).
const MESSAGE_MOST: usize = 1000;

/// Something to be said of a Service.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) service: ServiceName,
    pub(super) uid: String,
    pub(super) event: ipam::Event,
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

    async fn say(
        &self,
        News {
            service,
            uid,
            event,
        }: &News,
    ) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            name: Some(service.name.to_string()),
            namespace: Some(service.namespace.to_string()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        };
        let (kind, reason) = (event.kind.as_str(), event.reason);
        tracing::info!(%service, reason, "{}", event.message);
        let namespace = service.namespace.to_string();
        let event = self.event(about, &namespace, kind, reason, &event.message);
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams::default();
        match timeout(LIMIT, events.create(&parameters, &event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%service, reason, "the event is not said: {}", text(&error));
            }
            Err(_late) => tracing::warn!(%service, reason, "the event is not said: no answer"),
        }
    }

    fn event(
        &self,
        about: ObjectReference,
        namespace: &str,
        kind: &str,
        reason: &str,
        message: &str,
    ) -> Event {
        let now = wall();
        let name = about.name.as_deref().unwrap_or_default();
        let mut message = message.to_owned();
        message.truncate(message.floor_char_boundary(MESSAGE_MOST));
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:016x}", random::number())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: about,
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
