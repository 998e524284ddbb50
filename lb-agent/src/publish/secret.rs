//! The Secret `corten-cluster`: read by every agent, made by the holder of the
//! Lease where there was never one.
//!
//! It is asked for by name, again and again: the role allows no more than that,
//! and it hardly ever changes. One that is deleted is made again as it was, by
//! whoever knows it; all of them have looked before anybody makes another one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::election::Term;
use super::request::making;
use super::{MANAGER, quieted};
use crate::secret::{Known, SecretError, Secrets};
use crate::source::kube::follow::text;
use crate::{clock, random};

const NAME: &str = "corten-cluster";
/// Lines, as in [`crate::secret`].
const AGENTS: &str = "agents";
const PICK: &str = "pick";

/// A change is seen after this, at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// While there is none, or none that can be used.
const RETRY: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(10);
/// Whoever knows one that is missing has looked for it by then.
const ALL_LOOKED: Duration = Duration::from_secs(45);

pub(super) struct ClusterSecret {
    api: Api<Secret>,
    place: String,
    folder: PathBuf,
    known: watch::Sender<Known>,
    terms: watch::Receiver<Option<Term>>,
    missing_since: Option<Instant>,
}

/// Why there is no (newer) one.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it is not there; the agent that holds the Lease makes it soon")]
    Missing,
    #[error("the API server says: {0}")]
    Answer(String),
    #[error("no answer within {} s", ANSWER.as_secs())]
    Late,
    #[error("it has no key \"{0}\"")]
    NoKey(&'static str),
    #[error("its keys \"agents\" and \"pick\" cannot be used: {0}")]
    Wrong(#[from] SecretError),
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

impl ClusterSecret {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        folder: PathBuf,
        known: watch::Sender<Known>,
        terms: watch::Receiver<Option<Term>>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            place: format!("{namespace}/{NAME}"),
            folder,
            known,
            terms,
            missing_since: None,
        }
    }

    /// Until it is to be quiet.
    pub(super) async fn run(mut self, mut quiet: watch::Receiver<bool>) {
        let look = async {
            loop {
                let pause = self.round().await;
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = quieted(&mut quiet) => {}
            () = look => {}
        }
    }

    /// Looks once; how long to wait until the next time.
    async fn round(&mut self) -> Duration {
        let (secrets, failure) = match self.look().await {
            Ok(secrets) => (Some(Arc::new(secrets)), None),
            Err(failure) => (None, Some(failure)),
        };
        // An API server that does not answer is told of elsewhere, and what was
        // known is no worse for it.
        let silent = matches!(failure, Some(Failure::Answer(_) | Failure::Late));
        let failure = failure.map(|failure| format!("Secret {}: {failure}", self.place));
        let known = self.known.borrow().clone();
        let now = Known {
            secrets: secrets.or(known.secrets.clone()),
            failure: failure.filter(|_| !silent || known.secrets.is_none()),
        };
        if now.secrets != known.secrets
            && let Some(secrets) = &now.secrets
            && let Err(error) = secrets.keep(&self.folder)
        {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the cluster's secret is not kept for a restart");
        }
        let pause = if now.failure.is_some() {
            RETRY
        } else {
            LOOK_EVERY
        };
        if now != known {
            match &now.failure {
                Some(failure) => tracing::warn!("{failure}"),
                None => tracing::info!(secret = self.place, "the cluster's secret is known"),
            }
            self.known.send_replace(now);
        }
        pause
    }

    async fn look(&mut self) -> Result<Secrets, Failure> {
        if let Some(there) = in_time(self.api.get_opt(NAME)).await? {
            self.missing_since = None;
            return read(&there);
        }
        let known = self.known.borrow().secrets.clone();
        let secrets = match known {
            Some(known) => Secrets::clone(&known),
            None if self.is_new() => made().map_err(Failure::Random)?,
            None => return Err(Failure::Missing),
        };
        let made = in_time(self.api.create(&making(), &object(&secrets))).await?;
        tracing::info!(secret = self.place, "made the cluster's secret");
        read(&made)
    }

    /// Whether it is for this agent to make one, which no agent has known.
    fn is_new(&mut self) -> bool {
        let since = *self.missing_since.get_or_insert_with(clock::instant);
        let looked = clock::instant() - since >= ALL_LOOKED;
        let term = *self.terms.borrow();
        term.is_some_and(|term| !term.is_over() && (term.first || looked))
    }
}

/// New ones, which nobody can guess.
fn made() -> Result<Secrets, getrandom::Error> {
    Ok(Secrets {
        messages: vec![random::hex_key()?.into_bytes()],
        pick: random::hex_key()?.into_bytes(),
    })
}

fn object(secrets: &Secrets) -> Secret {
    let agents = [secrets.messages.join(&b'\n'), b"\n".to_vec()].concat();
    let data = [(AGENTS, agents), (PICK, secrets.pick.clone())];
    let data = data.map(|(key, bytes)| (key.to_owned(), ByteString(bytes)));
    Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/name".to_owned(),
                MANAGER.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data.into_iter().collect()),
        ..Secret::default()
    }
}

fn read(secret: &Secret) -> Result<Secrets, Failure> {
    let data = secret.data.as_ref();
    let key = |key| {
        let bytes = data.and_then(|data| data.get(key));
        bytes.map(|bytes| &*bytes.0).ok_or(Failure::NoKey(key))
    };
    Ok(Secrets::of(key(PICK)?, key(AGENTS)?)?)
}

async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(ANSWER, answer).await {
        // Somebody was first; it is read the next time.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failure::Missing),
        Ok(answer) => answer.map_err(|error| Failure::Answer(text(&error))),
        Err(_late) => Err(Failure::Late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_as_it_was_and_never_made_twice() {
        let (one, other) = (made().unwrap(), made().unwrap());
        assert_ne!(one, other);
        assert_ne!(one.messages[0], one.pick);
        assert_eq!(read(&object(&one)).unwrap(), one);
        let rotated = Secrets {
            messages: vec![b"new".to_vec(), one.messages[0].clone()],
            ..one
        };
        assert_eq!(read(&object(&rotated)).unwrap(), rotated);
    }

    #[test]
    fn a_secret_of_somebody_else_is_told_by_what_it_lacks() {
        let good = object(&made().unwrap());
        for (key, value, expected) in [
            (AGENTS, None, "it has no key \"agents\""),
            (PICK, None, "it has no key \"pick\""),
            (AGENTS, Some(""), "there is no line with a secret"),
            (PICK, Some(" "), "nothing stands behind"),
            (PICK, Some("a\nb"), "several lines"),
        ] {
            let mut secret = good.clone();
            let data = secret.data.as_mut().unwrap();
            data.remove(key);
            let value = value.map(|value| ByteString(value.as_bytes().to_vec()));
            data.extend(value.map(|value| (key.to_owned(), value)));
            let failure = read(&secret).unwrap_err().to_string();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
