//! What happens to the owner of the VIP, and how it is undone.

use anyhow::Result;
use serde::Serialize;

use super::system::{End, System};
use crate::lab::Loss;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// SIGTERM.
    Terminate,
    /// The label that keeps load balancers away from a node.
    Drain,
    /// `kill -9`.
    Kill,
    /// Its link has no carrier any more.
    LinkDown,
    /// Everything is lost, both ways, and the carrier stays.
    Silence,
    /// No carrier, and the agent is killed.
    NodeGone,
}

impl Fault {
    pub(super) const ALL: [Self; 6] = [
        Self::Terminate,
        Self::Drain,
        Self::Kill,
        Self::LinkDown,
        Self::Silence,
        Self::NodeGone,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM of its agent",
            Self::Drain => "drained",
            Self::Kill => "kill -9 of its agent",
            Self::LinkDown => "link down",
            Self::Silence => "silent loss",
            Self::NodeGone => "node gone",
        }
    }

    /// Whether this pod is lost with that node; its name is that of a lab's.
    pub(super) fn takes(self, node: u8, pod: &str) -> bool {
        let takes_pods = matches!(self, Self::LinkDown | Self::Silence | Self::NodeGone);
        takes_pods && pod.starts_with(&format!("node{node}-"))
    }

    pub(super) fn happen(self, system: &mut dyn System, node: u8) -> Result<()> {
        match self {
            Self::Terminate => system.end(node, End::Terminate),
            Self::Drain => system.drain(node, true),
            Self::Kill => system.end(node, End::Kill),
            Self::LinkDown => system.lab().lose(node, Loss::LinkDown),
            Self::Silence => system.lab().lose(node, Loss::Silent),
            Self::NodeGone => {
                system.lab().lose(node, Loss::LinkDown)?;
                system.end(node, End::Kill)
            }
        }
    }

    /// Undoes it; the node takes its time until all is as it was.
    pub(super) fn mend(self, system: &mut dyn System, node: u8) -> Result<()> {
        match self {
            Self::Terminate | Self::Kill => system.start(node),
            Self::Drain => system.drain(node, false),
            Self::LinkDown => system.lab().find(node, Loss::LinkDown),
            Self::Silence => system.lab().find(node, Loss::Silent),
            Self::NodeGone => {
                system.lab().find(node, Loss::LinkDown)?;
                system.start(node)
            }
        }
    }
}
