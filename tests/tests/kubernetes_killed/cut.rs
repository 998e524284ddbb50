//! A way to the API server that is cut at one write of an address.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;

/// What becomes of the write at which it is cut. Nobody hears of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// The server never gets it.
    Lost,
    /// The server does it, and the answer is lost.
    Unanswered,
}

#[derive(Debug)]
pub(crate) struct Cut {
    /// How many writes go through before.
    after: usize,
    last: Last,
    begun: AtomicUsize,
    /// Whether it is cut, and how many writes the server has not answered.
    state: watch::Sender<(bool, usize)>,
}

impl Cut {
    pub(crate) fn new(after: usize, last: Last) -> Arc<Self> {
        let (state, _) = watch::channel((false, 0));
        Arc::new(Self {
            after,
            last,
            begun: AtomicUsize::new(0),
            state,
        })
    }

    /// The same server, by a way that will be cut.
    pub(crate) fn on(self: &Arc<Self>, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let this = self.clone();
        let service = tower::service_fn(move |request| {
            let (this, client) = (this.clone(), client.clone());
            async move { this.pass(&client, request).await }
        });
        Client::new(service, namespace)
    }

    /// Waits until nothing goes through any more, in either direction.
    pub(crate) async fn done(&self) {
        let mut state = self.state.subscribe();
        let done = state.wait_for(|(cut, under_way)| *cut && *under_way == 0);
        done.await.expect("this has the sender");
    }

    fn is_cut(&self) -> bool {
        self.state.borrow().0
    }

    async fn pass(&self, client: &Client, request: Request<Body>) -> kube::Result<Response<Body>> {
        if self.is_cut() {
            return pending().await;
        }
        if !gives_address(&request) {
            return client.send(request).await;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst);
        let is_last = number >= self.after;
        let sent = !is_last || self.last == Last::Unanswered && number == self.after;
        self.state.send_modify(|(cut, under_way)| {
            *cut |= is_last;
            *under_way += usize::from(sent);
        });
        if !sent {
            return pending().await;
        }
        let answer = client.send(request).await;
        self.state.send_modify(|(_, under_way)| *under_way -= 1);
        if self.is_cut() {
            return pending().await;
        }
        answer
    }
}

fn gives_address(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    *request.method() == Method::PATCH && path.contains("/services/") && path.ends_with("/status")
}
