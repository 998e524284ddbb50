//! Routers, from the first call to taking leave.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::error::AgentError;
use crate::driver::{bfd, bgp};
use crate::report;

/// The sessions with routers, which end in their own way.
pub(super) struct Routers {
    quit: oneshot::Sender<()>,
    driver: JoinHandle<()>,
}

impl Routers {
    pub(super) fn start(
        settings: bgp::Settings,
        sessions: watch::Receiver<bgp::Wanted>,
        told: watch::Sender<Arc<report::routers::Routers>>,
    ) -> Result<Self, AgentError> {
        let (quit, asked) = oneshot::channel();
        let bfd = bfd::start().map_err(AgentError::Bfd)?;
        let driver = tokio::spawn(bgp::run(settings, sessions, told, bfd, asked));
        Ok(Self { quit, driver })
    }

    /// Takes leave of them; it is the driver that limits how long that takes.
    pub(super) async fn stop(self) {
        // Whoever has ended needs no telling.
        let _told = self.quit.send(());
        let _left = self.driver.await;
    }
}
