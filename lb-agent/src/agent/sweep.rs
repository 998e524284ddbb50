//! Flows that are over are removed, and the clients' filter is made anew.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::AgentError;
use crate::clock;
use crate::dataplane::sweep::Sweeper;
use crate::reconcile::FilterReady;

const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The filter is made anew after this many sweeps, if flows were removed.
const FILTER_EVERY: u32 = 12;

/// Sweeps now and then, beside everything else.
pub(super) async fn sweep(
    mut sweeper: Sweeper,
    filter: mpsc::Sender<FilterReady>,
) -> Result<(), AgentError> {
    let mut ticks = clock::ticks(SWEEP_EVERY);
    let (mut removed, mut sweeps) = (0, 0_u32);
    loop {
        ticks.tick().await;
        sweeps += 1;
        let rebuild = sweeps >= FILTER_EVERY && removed > 0;
        let work = tokio::task::spawn_blocking(move || {
            let swept = sweeper.sweep();
            let half = rebuild.then(|| sweeper.rebuild_filter());
            (sweeper, swept, half)
        });
        let (back, swept, half) = work.await.map_err(AgentError::Panicked)?;
        sweeper = back;
        match swept {
            Ok(swept) => {
                removed += swept.tcp_removed;
                tracing::trace!(?swept, "swept");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "flows are not swept");
            }
        }
        match half {
            Some(Ok(half)) => {
                let (in_use, used) = oneshot::channel();
                if filter.send(FilterReady { half, in_use }).await.is_err() {
                    return Ok(());
                }
                // Not used is no harm: the next one is made of the same flows.
                if used.await.is_ok() {
                    (removed, sweeps) = (0, 0);
                }
            }
            Some(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the client filter is not renewed");
            }
            None => {}
        }
    }
}
