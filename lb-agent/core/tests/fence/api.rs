//! The API server, as far as the Lease goes.

use lb_core::lease::{Outcome, Record, Write};

#[derive(Debug, Default)]
pub(crate) struct Api {
    lease: Option<Record>,
    writes: u64,
}

impl Api {
    pub(crate) fn look(&self) -> Option<Record> {
        self.lease.clone()
    }

    pub(crate) fn write(&mut self, write: &Write) -> Outcome {
        let there = self.lease.as_ref().map(|lease| &lease.version);
        if write.replaces.as_ref() != there {
            return Outcome::Conflict;
        }
        self.writes += 1;
        let version = self.writes.to_string();
        self.lease = Some(Record {
            version: version.clone(),
            holder: Some(write.holder.clone()),
            transitions: write.transitions,
        });
        Outcome::Written(version)
    }
}
