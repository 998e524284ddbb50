//! The kernel half: checked, loaded and put right before anything else begins.

use std::time::Duration;

use super::Tasks;
use super::error::AgentError;
use super::options::Options;
use crate::dataplane::apply::Kernel;
use crate::dataplane::attach::{Attachments, Hook};
use crate::dataplane::load::{Object, load};
use crate::dataplane::log::PacketLog;
use crate::dataplane::pins::Pins;
use crate::dataplane::{jiffies, kernel};

/// For people who watch: safe Rust has no way to be woken by the programs.
const READ_LOG_EVERY: Duration = Duration::from_millis(50);

pub(super) struct DataPlane {
    pub(super) pins: Pins,
    pub(super) kernel: Kernel,
    pub(super) attachments: Attachments,
    /// Jiffies a second.
    pub(super) hz: u32,
}

impl DataPlane {
    /// What an earlier agent left is taken over. The log of packets, if it is
    /// wanted, is one of `tasks`.
    pub(super) async fn load(options: &Options, tasks: &mut Tasks) -> Result<Self, AgentError> {
        kernel::check(&options.bpffs)?;
        let pins = Pins::new(&options.bpffs);
        let object = match &options.object {
            Some(path) => Object::File(path.clone()),
            None if options.debug_packets => Object::Logging,
            None => Object::Plain,
        };
        tracing::info!(bpffs = %options.bpffs.display(), "loading the data plane");
        let mut ebpf = load(&object, &pins, &options.sizes)?;
        if options.debug_packets {
            let log = PacketLog::open(&mut ebpf)?;
            tasks.spawn(pass_on(log));
        }
        let mut attachments = Attachments::new(ebpf, pins.clone());
        for hook in Hook::ALL {
            if !attachments.has_program(hook) {
                tracing::warn!(
                    program = hook.program(),
                    "the data plane has no such program yet"
                );
            }
        }
        if let Err(error) = attachments.pin_clock() {
            tracing::warn!(%error, "the clock cannot be pinned");
        }
        let mut kernel = Kernel::open(&pins)?;
        kernel.mend()?;
        let hz = match kernel.config()?.hz {
            0 => jiffies::measure(&pins).await,
            found_before => found_before,
        };
        Ok(Self {
            pins,
            kernel,
            attachments,
            hz,
        })
    }
}

async fn pass_on(mut log: PacketLog) -> Result<(), AgentError> {
    let mut ticks = tokio::time::interval(READ_LOG_EVERY);
    loop {
        ticks.tick().await;
        log.pass_on();
    }
}
