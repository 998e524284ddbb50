//! What a large cluster costs an agent: the result of `tests/bench_watch`,
//! which follows a real API server into real maps.

use serde::{Deserialize, Serialize};

/// What is promised.
const SYNC_S: f64 = 3.0;
/// 200 MB.
const MEMORY_MIB: f64 = 190.7;
/// Until it is in the kernel.
const CHANGE_MS: f64 = 10.0;

/// One size of a cluster, seen from one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub services: u32,
    pub endpoints: u32,
    /// Of these on the agent's node.
    pub local_backends: u32,
    /// Computing time from the agent's start until everything is in the maps,
    /// in seconds, all threads together; what is there without any Service is
    /// taken off.
    pub sync_s: f64,
    /// Of one CPU, when nothing changes: talking to the other nodes.
    pub rest_percent: f64,
    /// Resident after that, and at most.
    pub memory_mib: f64,
    pub memory_most_mib: f64,
    /// Computing time for one endpoint, from facts to written maps, in
    /// milliseconds: the median and the longest.
    pub change_ms: f64,
    pub change_most_ms: f64,
    /// And of the whole process, reading what the API server sends and what is
    /// told to others afterwards included: the mean.
    pub change_all_ms: f64,
}

impl Line {
    /// Whether it is more than is promised.
    #[must_use]
    pub fn over(&self) -> bool {
        self.sync_s > SYNC_S || self.memory_most_mib > MEMORY_MIB || self.change_most_ms > CHANGE_MS
    }
}

/// For people.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:>8} {:>9} {:>6} {:>10} {:>10} {:>12} {:>9} {:>12} {:>9} {:>9}\n",
        "services",
        "endpoints",
        "here",
        "sync, s",
        "at rest, %",
        "memory, MiB",
        "(most)",
        "change, ms",
        "(most)",
        "(all)"
    );
    for line in lines {
        text.push_str(&format!(
            "{:>8} {:>9} {:>6} {:>10.2} {:>10.1} {:>12.0} {:>9.0} {:>12.2} {:>9.2} {:>9.2} {}\n",
            line.services,
            line.endpoints,
            line.local_backends,
            line.sync_s,
            line.rest_percent,
            line.memory_mib,
            line.memory_most_mib,
            line.change_ms,
            line.change_most_ms,
            line.change_all_ms,
            if line.over() { "OVER" } else { "ok" }
        ));
    }
    text.push_str(&format!(
        "promised {:>26} {SYNC_S:>8.0} {:>32.0} {CHANGE_MS:>22.0}\n",
        "", MEMORY_MIB
    ));
    text
}
