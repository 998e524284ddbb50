//! Requests to the API server as all writers make them.

use std::time::Duration;

use kube::Api;
use kube::api::{ListParams, ObjectList, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::MANAGER;
use crate::source::kube::follow::text;

/// Objects in an answer.
const PAGE: u32 = 500;

/// What is answered, or why nothing is.
pub(super) async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, String> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| text(&error)),
        Err(_late) => Err(format!("no answer within {limit:?}")),
    }
}

/// For what is made by us.
pub(super) fn making() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Makes a status what `object` says, as far as it says something.
pub(super) async fn apply_status<K: Clone + DeserializeOwned>(
    api: &Api<K>,
    name: &str,
    object: &Value,
) -> kube::Result<K> {
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch_status(name, &parameters, &Patch::Apply(object))
        .await
}

/// What is to be kept of each object of a list, which is asked for page by page:
/// an object takes some kilobytes, most of them who manages which field.
pub(super) async fn list_all<T: Clone, R, F>(
    limit: Duration,
    labels: &str,
    page: impl Fn(ListParams) -> F,
    keep: impl Fn(T) -> Option<R>,
) -> Result<Vec<R>, String>
where
    F: Future<Output = kube::Result<ObjectList<T>>>,
{
    let mut all = Vec::new();
    let mut parameters = ListParams::default().labels(labels).limit(PAGE);
    loop {
        let next = in_time(limit, page(parameters.clone())).await?;
        all.extend(next.items.into_iter().filter_map(&keep));
        match next.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// Why something failed when it was last tried, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct LastFailure(Option<String>);

impl LastFailure {
    /// Takes note of an outcome; a failure that is another one than before.
    pub(super) fn new_reason(&mut self, outcome: &Result<(), String>) -> Option<&str> {
        let now = outcome.as_ref().err();
        if now == self.0.as_ref() {
            return None;
        }
        self.0 = now.cloned();
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_until_it_is_another_or_was_over() {
        let fails = |why: &str| Err(why.to_owned());
        let mut last = LastFailure::default();
        assert_eq!(last.new_reason(&Ok(())), None);
        assert_eq!(last.new_reason(&fails("refused")), Some("refused"));
        assert_eq!(last.new_reason(&fails("refused")), None);
        assert_eq!(last.new_reason(&fails("late")), Some("late"));
        assert_eq!(last.new_reason(&Ok(())), None);
        assert_eq!(last.new_reason(&fails("late")), Some("late"));
    }
}
