//! `/metrics`, `/healthz` and `/readyz`, over HTTP.
//!
//! Healthy: the agent runs and answers. Ready: the tables hold what they
//! should. An agent that has not read its source yet is healthy and not ready,
//! while what is pinned forwards on; an API server that goes away later
//! changes neither.
//!
//! One task; requests read the tables themselves, on threads for that. It may
//! be cancelled at any point.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::dataplane::pins::Pins;
use crate::driver::peers::PeersReport;
use crate::publish::Decided;
use crate::report::Report;
use crate::report::routers::Routers;

mod metallb;
mod metrics;
mod peers;
mod routers;
#[cfg(test)]
mod tests;
mod text;

/// MetalLB has 7472 and 7946: both can run during a migration.
pub const DEFAULT_PORT: u16 = 6948;

/// Where the answers come from.
#[derive(Clone, Debug)]
pub struct Answers {
    pub pins: Pins,
    pub report: watch::Receiver<Arc<Report>>,
    pub decided: watch::Receiver<Decided>,
    pub peers: watch::Receiver<Arc<PeersReport>>,
    pub routers: watch::Receiver<Arc<Routers>>,
    /// MetalLB's names as well.
    pub as_metallb: bool,
}

/// Listens; a machine without IPv6 listens for IPv4 alone.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.ip().is_unspecified()
                && address.is_ipv6()
                && error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

pub async fn run(listener: TcpListener, answers: Answers) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(answers);
    axum::serve(listener, router).await
}

async fn ready(State(answers): State<Answers>) -> (StatusCode, String) {
    let report = answers.report.borrow().clone();
    if report.ready {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let mut reasons = report.not_ready.join("\n");
    if reasons.is_empty() {
        "the agent has just started".clone_into(&mut reasons);
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reasons}\n"))
}

async fn metrics(State(answers): State<Answers>) -> impl IntoResponse {
    let text = tokio::task::spawn_blocking(move || {
        let mut text = text::Text::default();
        metrics::of_agent(&mut text, &answers.report.borrow().clone());
        peers::of_peers(&mut text, &answers.peers.borrow().clone());
        metrics::of_addresses(&mut text, &answers.decided.borrow().clone());
        routers::of_routers(&mut text, &answers.routers.borrow().clone());
        if let Err(error) = metrics::of_tables(&mut text, &answers.pins) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the tables cannot be measured");
        }
        let mut all = text.into_string();
        if answers.as_metallb {
            let decided = answers.decided.borrow().clone();
            all += &metallb::lines(&decided, &answers.routers.borrow().clone());
        }
        all
    });
    match text.await {
        Ok(text) => {
            let kind = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (StatusCode::OK, kind, text).into_response()
        }
        Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
