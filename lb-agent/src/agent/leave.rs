//! What becomes of this node's VIPs when its agent is asked to end: others take
//! them over first, or they stay, as the agent will be back.

use std::time::Duration;

use lb_core::l2::Wanted;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::clock;
use crate::driver::fence::Keep;
use crate::driver::peers::Leave;

/// For others to take over before the agent ends, and for its own kernel to let
/// go then.
const HAND_OVER: Duration = Duration::from_secs(2);
const LET_GO: Duration = Duration::from_millis(500);
/// For others to hear that it comes back.
const TELL: Duration = Duration::from_secs(1);

/// The ways to those who have to know.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) leave: watch::Sender<Option<Leave>>,
    /// All others have done what they have to, and how many know.
    pub(super) released: watch::Receiver<Option<usize>>,
    /// What this node answers for.
    pub(super) owned: watch::Receiver<Wanted>,
    pub(super) keep: mpsc::Sender<Keep>,
}

impl Leaving {
    /// `returns_in`: the VIPs stay for as long, if others agree to that.
    pub(super) async fn run(mut self, returns_in: Option<Duration>) {
        if let Some(time) = returns_in {
            if self.keep(time).await {
                tracing::info!(
                    seconds = time.as_secs(),
                    "others know that this agent comes back"
                );
                return;
            }
            tracing::warn!("not all others know that this agent comes back: it hands over");
        }
        self.hand_over().await;
    }

    async fn keep(&mut self, time: Duration) -> bool {
        let until = clock::now() + time;
        let returns_in = Some(time);
        self.leave.send_replace(Some(Leave { returns_in }));
        let told = self.released.wait_for(Option::is_some);
        let Ok(Ok(told)) = timeout(TELL, told).await.map(|told| told.map(|told| *told)) else {
            return false;
        };
        let (kept, answer) = oneshot::channel();
        let keep = Keep {
            until,
            told: told.unwrap_or(0),
            kept,
        };
        // The fence has ended: the agent does too.
        self.keep.send(keep).await.is_ok() && answer.await == Ok(true)
    }

    /// Waits until others have taken over this node's VIPs, and it has let go
    /// of them.
    async fn hand_over(mut self) {
        self.leave.send_replace(Some(Leave { returns_in: None }));
        if self.owned.borrow().vips.is_empty() {
            return;
        }
        let taken = self.released.wait_for(Option::is_some);
        if !matches!(timeout(HAND_OVER, taken).await, Ok(Ok(_))) {
            tracing::warn!("not all others say that they have taken over");
            return;
        }
        let gone = self.owned.wait_for(|owned| owned.vips.is_empty());
        if timeout(LET_GO, gone).await.is_err() {
            tracing::info!("nobody else can own its VIPs: the kernel answers on");
        }
    }
}
