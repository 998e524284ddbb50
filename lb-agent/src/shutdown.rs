//! How the agent ends: on SIGTERM or SIGINT it goes and leaves everything
//! pinned and attached, so that forwarding goes on.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the agent is asked to end; says by what.
pub async fn requested() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
