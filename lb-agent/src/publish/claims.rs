//! Tells the owner of a Service that another machine has its address. Each
//! agent tells of those that it would answer for.

use std::collections::BTreeSet;

use lb_core::ipam::{Event, EventKind};
use lb_core::problem::Problem;
use tokio::sync::{mpsc, watch};

use super::events::{About, News, tell};
use super::{Decided, quieted};

pub(super) struct Claims {
    news: mpsc::Sender<News>,
    /// Those that were told, as long as they hold.
    told: BTreeSet<Problem>,
}

impl Claims {
    pub(super) const fn new(news: mpsc::Sender<News>) -> Self {
        Self {
            news,
            told: BTreeSet::new(),
        }
    }

    /// Until it is to be quiet.
    pub(super) async fn run(
        mut self,
        mut decided: watch::Receiver<Decided>,
        mut quiet: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                biased;
                () = quieted(&mut quiet) => return,
                changed = decided.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            let now = decided.borrow_and_update().clone();
            for (about, event) in self.news(&now) {
                tell(&self.news, about, event);
            }
        }
    }

    /// What is to be told, once for each claim.
    fn news(&mut self, decided: &Decided) -> Vec<(About, Event)> {
        self.told.retain(|claim| decided.claimed.contains(claim));
        let mut news = Vec::new();
        for claim in decided.claimed.iter() {
            let Problem::VipClaimed { service, .. } = claim else {
                continue;
            };
            let Some(handle) = decided.handles.get(service) else {
                continue;
            };
            if self.told.insert(claim.clone()) {
                let event = Event {
                    kind: EventKind::Warning,
                    reason: claim.name(),
                    message: claim.to_string(),
                };
                news.push((About::service(service, &handle.uid), event));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lb_core::model::ServiceName;

    use super::*;
    use crate::source::Handle;

    #[test]
    fn a_claim_is_told_once_until_it_ends_and_not_of_a_service_that_is_gone() {
        let web = ServiceName::new("default", "web");
        let claim = |service: &ServiceName| Problem::VipClaimed {
            service: service.clone(),
            vip: "192.0.2.80".parse().unwrap(),
            mac: "02:00:00:00:00:01".to_owned(),
            held_back: true,
        };
        let gone = claim(&ServiceName::new("default", "gone"));
        let handle = Handle {
            uid: "1".to_owned(),
            ..Handle::default()
        };
        let mut decided = Decided {
            handles: Arc::new([(web.clone(), Arc::new(handle))].into()),
            claimed: Arc::new([claim(&web), gone].into()),
            ..Decided::default()
        };
        let (out, _news) = mpsc::channel(1);
        let mut claims = Claims::new(out);
        let told = claims.news(&decided);
        let [(about, event)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((&*about.name, &*about.uid), ("web", "1"));
        assert_eq!(event.reason, "VipClaimed");
        assert!(event.message.contains("02:00:00:00:00:01"), "{event:?}");
        assert!(claims.news(&decided).is_empty());
        let claimed = std::mem::take(&mut decided.claimed);
        assert!(claims.news(&decided).is_empty());
        decided.claimed = claimed;
        assert_eq!(claims.news(&decided).len(), 1, "it had ended");
    }
}
