//! What is known of other agents, for `lb-agent members` and metrics: a file
//! beside the agent's own report, written anew every second.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lb_core::gossip::Row;
use lb_core::model::MemberState;
use lb_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersReport {
    pub node: String,
    pub port: u16,
    /// Between two beats to each of the others.
    pub period_ms: u64,
    /// How long silence is borne.
    pub patience_ms: u64,
    /// All that are there are known.
    pub settled: bool,
    pub peers: Vec<PeerRow>,
    /// Datagrams of no use, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    pub node: String,
    pub address: Option<IpAddr>,
    /// alive, suspect, down, leaving, or absent: never heard of.
    pub state: String,
    /// In this state for as long.
    pub since_ms: Option<u64>,
    /// May own VIPs.
    pub counts: bool,
    pub programmed: bool,
    pub uplinks_up: bool,
    /// It said that it is back by then.
    pub returns_in_ms: Option<u64>,
    /// Since this node itself has heard it.
    pub heard_ms: Option<u64>,
    pub round_trip_us: Option<u64>,
    pub beats_sent: u64,
    pub beats_received: u64,
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl PeerRow {
    pub(super) fn of(row: &Row, now: Timestamp) -> Self {
        let member = row.member.as_ref();
        let round_trip = row.round_trip;
        Self {
            node: row.node.to_string(),
            address: row.address,
            state: member.map_or("absent", |m| m.state.name()).to_owned(),
            since_ms: member.map(|member| millis(now.since(member.since))),
            counts: member.is_some_and(lb_core::model::Member::counts),
            programmed: member.is_some_and(|member| member.programmed),
            uplinks_up: member.is_some_and(|member| member.uplinks_up),
            returns_in_ms: member
                .and_then(|member| member.returns_by)
                .map(|by| millis(by.since(now))),
            heard_ms: row.heard.map(|heard| millis(now.since(heard))),
            round_trip_us: round_trip.and_then(|time| u64::try_from(time.as_micros()).ok()),
            beats_sent: row.beats_sent,
            beats_received: row.beats_received,
        }
    }

    /// Whether it is heard, or nearly.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let there = [MemberState::Alive, MemberState::Suspect];
        there.iter().any(|state| state.name() == self.state)
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("members.json")
}

impl PeersReport {
    /// Whole, by rename.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let new = folder.join("members.json.new");
        fs::write(&new, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(new, file(folder))
    }

    /// What was written last. It counts only while the agent runs
    /// ([`crate::report::Report::read`]).
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let text = fs::read(file(folder)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Writes until nobody tells any more.
pub async fn keep(mut reports: watch::Receiver<Arc<PeersReport>>, folder: PathBuf) {
    // Of an agent before this one.
    let _removed = fs::remove_file(file(&folder));
    let mut said = false;
    while reports.changed().await.is_ok() {
        let report = reports.borrow_and_update().clone();
        let written = report.write(&folder);
        if let Err(error) = &written
            && !said
        {
            tracing::warn!(folder = %folder.display(), %error, "cannot write the members");
        }
        said = written.is_err();
    }
}
