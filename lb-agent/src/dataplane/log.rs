//! What the programs log, where they were built to.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// The object does not log.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what the programs log")]
pub struct LogError(#[from] aya_log::Error);

/// Lines about packets, on their way to our own log.
pub struct PacketLog {
    pass_on: Box<dyn FnMut() + Send>,
}

impl std::fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketLog").finish_non_exhaustive()
    }
}

impl PacketLog {
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, LogError> {
        let mut logger = EbpfLogger::init(ebpf)?;
        Ok(Self {
            pass_on: Box::new(move || logger.flush()),
        })
    }

    /// Passes on what has come up to now.
    pub fn pass_on(&mut self) {
        (self.pass_on)();
    }
}
