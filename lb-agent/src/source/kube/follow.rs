//! Follows one kind of objects: lists them, then watches from there, and again.
//!
//! A watch that ends goes on where it was. One whose place the server has
//! forgotten (410 Gone: etcd was compacted) begins with a list again; what was
//! known stays until that is complete. Why not `kube::runtime::watcher`: it
//! does not tell when a watch that failed stands again, and gives up on no
//! list that hangs.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::kind::{Body, Kind, Object};
use super::store::{Change, Entry};
use crate::random;
use crate::source::object::Ours;

/// Objects in an answer, as client-go asks for them.
const PAGE: u32 = 500;
/// The server ends a watch after this, so that a connection that has died
/// unnoticed is found soon.
const WATCH_S: u32 = 45;
/// And this much later we end it ourselves.
const OVERTIME: Duration = Duration::from_secs(10);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Between attempts; doubled until the longest, give or take a half.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// What to follow, and where to tell.
#[derive(Debug)]
pub(super) struct Follower<B> {
    pub(super) api: Api<Object<B>>,
    pub(super) kind: Kind,
    pub(super) labels: Option<&'static str>,
    pub(super) fields: Option<String>,
    pub(super) ours: Ours,
    /// When it changes, everything is listed again.
    pub(super) epoch: watch::Receiver<u64>,
    /// Waits while the store is behind: the server keeps what is not read.
    pub(super) changes: mpsc::Sender<Change>,
}

/// Nobody listens any more.
#[derive(Debug)]
struct Done;

/// How a watch ended.
enum Ended {
    /// To be taken up at this version.
    At(String),
    Forgotten,
    /// There is no such kind (yet).
    NoSuchKind,
    Failed(String, String),
}

impl<B: Body> Follower<B>
where
    Object<B>: Entry,
{
    /// Ends when nobody listens any more.
    pub(super) async fn run(mut self) {
        loop {
            let mut epochs = self.epoch.clone();
            let epoch = *epochs.borrow_and_update();
            tokio::select! {
                Done = self.follow(epoch) => return,
                changed = epochs.changed() => if changed.is_err() { return },
            }
            self.epoch = epochs;
        }
    }

    async fn follow(&self, epoch: u64) -> Done {
        let mut wait = Backoff::default();
        loop {
            let version = match self.list(epoch).await {
                Ok(Ok(version)) => version,
                Ok(Err(failure)) => {
                    if self.say(failure).await.is_err() {
                        return Done;
                    }
                    wait.pause().await;
                    continue;
                }
                Err(done) => return done,
            };
            wait = Backoff::default();
            match self.watch_on(version).await {
                Ok(()) => {}
                Err(done) => return done,
            }
        }
    }

    /// Lists all objects; returns the version of the list.
    async fn list(&self, epoch: u64) -> Result<Result<String, Change>, Done> {
        self.say(Change::Begun(self.kind)).await?;
        let mut parameters = ListParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = match in_time(self.api.list(&parameters)).await {
                Ok(page) => page,
                Err(error) => return Ok(Err(self.failure(&error))),
            };
            for object in page.items {
                self.say(Change::put(object, &self.ours)).await?;
            }
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_some() {
                parameters.continue_token = next;
                continue;
            }
            self.say(Change::Listed(self.kind, epoch)).await?;
            return Ok(Ok(page.metadata.resource_version.unwrap_or_default()));
        }
    }

    /// Watches until there is nothing left but to list anew.
    async fn watch_on(&self, mut version: String) -> Result<(), Done> {
        let mut wait = Backoff::default();
        loop {
            let began = version.clone();
            match self.watch(version).await? {
                Ended::At(last) => {
                    // A server that ends all watches at once is no better
                    // than one that refuses them.
                    if last == began {
                        wait.pause().await;
                    } else {
                        wait = Backoff::default();
                    }
                    version = last;
                }
                Ended::Forgotten => return Ok(()),
                Ended::NoSuchKind => {
                    self.say(Change::Absent(self.kind)).await?;
                    wait.pause().await;
                    return Ok(());
                }
                Ended::Failed(last, reason) => {
                    self.say(Change::Failed(self.kind, reason)).await?;
                    wait.pause().await;
                    version = last;
                }
            }
        }
    }

    /// One watch.
    async fn watch(&self, mut version: String) -> Result<Ended, Done> {
        let parameters = WatchParams {
            label_selector: self.labels.map(str::to_owned),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_S),
            bookmarks: true,
            ..WatchParams::default()
        };
        let stream = match in_time(self.api.watch(&parameters, &version)).await {
            Ok(stream) => stream,
            Err(Failure::Api(error)) if is_gone(&error) => return Ok(Ended::Forgotten),
            Err(Failure::Api(error)) if is_absent(&error) => return Ok(Ended::NoSuchKind),
            Err(error) => return Ok(Ended::Failed(version, error.to_string())),
        };
        self.say(Change::Watching(self.kind)).await?;
        let mut stream = pin!(stream.into_stream());
        let idle = Duration::from_secs(WATCH_S.into()) + OVERTIME;
        loop {
            let Ok(Some(event)) = timeout(idle, stream.next()).await else {
                return Ok(Ended::At(version));
            };
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    object.version().clone_into(&mut version);
                    self.say(Change::put(object, &self.ours)).await?;
                }
                Ok(WatchEvent::Deleted(object)) => {
                    object.version().clone_into(&mut version);
                    self.say(Change::gone(&object)).await?;
                }
                Ok(WatchEvent::Bookmark(bookmark)) => version = bookmark.metadata.resource_version,
                Ok(WatchEvent::Error(status)) if status.code == 410 => {
                    return Ok(Ended::Forgotten);
                }
                Ok(WatchEvent::Error(status)) => {
                    return Ok(Ended::Failed(version, status.message));
                }
                // What came is lost: only a list brings it back.
                Err(error @ kube::Error::SerdeError(_)) => {
                    self.say(Change::Failed(self.kind, error.to_string()))
                        .await?;
                    Backoff::longest().pause().await;
                    return Ok(Ended::Forgotten);
                }
                Err(error) => return Ok(Ended::Failed(version, text(&error))),
            }
        }
    }

    fn failure(&self, failure: &Failure) -> Change {
        match failure {
            Failure::Api(error) if is_absent(error) => Change::Absent(self.kind),
            other => Change::Failed(self.kind, other.to_string()),
        }
    }

    async fn say(&self, change: Change) -> Result<(), Done> {
        self.changes.send(change).await.map_err(|_closed| Done)
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", text(.0))]
    Api(kube::Error),
    #[error("no answer within {} s", ANSWER.as_secs())]
    Late,
}

async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(Failure::Api),
        Err(_late) => Err(Failure::Late),
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// An error as people want to read it: what the server says, or the cause that
/// lies deepest, which is that of the connection.
pub(crate) fn text(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

#[derive(Debug)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF)
    }
}

impl Backoff {
    fn longest() -> Self {
        Self(BACKOFF_LONGEST)
    }

    /// Waits; the next time for longer.
    async fn pause(&mut self) {
        let half = self.0 / 2;
        let more = random::below(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX));
        tokio::time::sleep(half + Duration::from_millis(more)).await;
        self.0 = (self.0 * 2).min(BACKOFF_LONGEST);
    }
}
