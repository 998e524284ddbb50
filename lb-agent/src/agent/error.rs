//! Why an agent ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::JoinError;

use crate::dataplane::apply::MendError;
use crate::dataplane::kernel;
use crate::dataplane::load::LoadError;
use crate::dataplane::log::LogError;
use crate::dataplane::maps::OpenError;
use crate::dataplane::readback::ReadError;
use crate::driver::channel::ChannelError;
use crate::driver::peers;
use crate::net::watch as net_watch;
use crate::reconcile::ReconcileError;
use crate::source::kube::connect::ConnectError;

/// Why the agent ended. What was pinned and attached still is.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(
        "another agent, process {pid}, uses {bpffs}: end it first, or name another folder with \
         --bpffs"
    )]
    Running { pid: u32, bpffs: PathBuf },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Unfit(#[from] kernel::Unfit),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    Net(#[from] net_watch::NetError),
    #[error(
        "cannot listen on {0} for metrics: is another agent there? --metrics-addr names another"
    )]
    Listen(SocketAddr, #[source] io::Error),
    #[error("metrics cannot be served")]
    Serve(#[source] io::Error),
    #[error("cannot start the thread of the fence")]
    Fence(#[source] io::Error),
    #[error("the fence has ended: nothing renews VIPs")]
    Fenceless,
    #[error("cannot start the thread that talks with other agents")]
    PeersThread(#[source] io::Error),
    #[error("the thread that talks with other agents has panicked")]
    PeersPanicked,
    #[error("cannot start the thread of BFD")]
    Bfd(#[source] io::Error),
    #[error("cannot announce VIPs")]
    Announce(#[source] io::Error),
    #[error("cannot put the pinned maps right")]
    Mend(#[from] MendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Peers(#[from] peers::Ended),
    #[error("cannot wait for signals")]
    Wait(#[source] io::Error),
    #[error("a task panicked")]
    Panicked(#[source] JoinError),
}
