//! Removing flows that have ended, and keeping the client filter small.
//!
//! Flows are the programs' own; the agent only takes away what is over. A
//! flow that is used while it is looked at stays: what decides is read again
//! right before it is removed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use aya::maps::MapError;
use lb_common::addr::Addr;
use lb_common::backend::{BackendRef, BackendValue};
use lb_common::config::Config;
use lb_common::filter::client_bit;
use lb_common::flow::{FlowKey, FlowValue, ReverseKey, ReverseValue, TCP, state};
use lb_common::hash::source_hash;
use lb_common::limits::EMBRYO_SECONDS;

use super::apply::{ApplyError, removed, written};
use super::jiffies::Jiffies;
use super::maps::{Maps, OpenError};
use super::pins::Pins;
use super::readback::{self, ReadError};

/// After how long without a packet a flow counts as over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Flows")]
pub struct Timeouts {
    /// Idle TCP flows are forgotten after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "28800", value_parser = seconds)]
    pub tcp_idle: Duration,
    /// TCP flows that one side has ended, and that are idle
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    pub tcp_half_closed: Duration,
    /// Idle UDP flows are forgotten after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub udp_idle: Duration,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_idle: Duration::from_hours(8),
            tcp_half_closed: Duration::from_hours(1),
            udp_idle: Duration::from_mins(2),
        }
    }
}

/// Both sides have said that it is over: stragglers still find their way.
const CLOSED: Duration = Duration::from_mins(1);
/// The client said RST, and the pod did not go on.
const CLIENT_RESET: Duration = Duration::from_secs(10);
/// Entered before the pod answered, and it did not.
const UNPROVEN: Duration = Duration::from_secs(EMBRYO_SECONDS as u64);
/// How long flows of a frontend that was deleted are kept.
const DELETED: Duration = Duration::from_mins(1);

/// Sweeping failed on the way. What was removed until then is removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot read CONFIG")]
    Config(#[source] MapError),
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub tcp: usize,
    pub tcp_removed: usize,
    pub udp: usize,
    pub udp_removed: usize,
}

/// Sweeps, with handles of its own: it runs beside the rest.
#[derive(Debug)]
pub struct Sweeper {
    pins: Pins,
    maps: Maps,
    timeouts: Timeouts,
}

/// Why a flow is removed, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Over,
}

/// What flows are judged by.
struct Judge<'a> {
    timeouts: &'a Timeouts,
    backends: &'a BTreeMap<u16, BackendValue>,
    frontends: &'a HashSet<u32>,
}

impl Judge<'_> {
    /// The pod of a flow, unless it has gone.
    fn pod(&self, named: BackendRef) -> Option<&BackendValue> {
        let backend = self.backends.get(&named.id)?;
        (backend.generation == named.generation).then_some(backend)
    }

    /// `idle`: how long ago either side sent the last packet.
    fn tcp(&self, flow: &FlowValue, idle: Duration) -> Fate {
        let limit = if flow.is_closed() {
            CLOSED
        } else if self.pod(flow.backend).is_none() {
            return self.without_pod(flow, idle);
        } else if flow.state & state::CLIENT_RESET != 0 {
            CLIENT_RESET
        } else if flow.state & state::UNPROVEN != 0 {
            UNPROVEN
        } else if flow.state & state::CLOSING != 0 {
            self.timeouts.tcp_half_closed
        } else {
            self.timeouts.tcp_idle
        };
        over_if(idle >= limit)
    }

    fn udp(&self, flow: &FlowValue, idle: Duration) -> Fate {
        if self.pod(flow.backend).is_none() {
            return self.without_pod(flow, idle);
        }
        over_if(idle >= self.timeouts.udp_idle)
    }

    /// The frontend is still there, so the pod has left it: nothing answers.
    /// Or the frontend was deleted, and its flows may end in peace.
    fn without_pod(&self, flow: &FlowValue, idle: Duration) -> Fate {
        over_if(self.frontends.contains(&flow.frontend) || idle >= DELETED)
    }
}

fn over_if(over: bool) -> Fate {
    if over { Fate::Over } else { Fate::Stays }
}

impl Sweeper {
    pub fn open(pins: &Pins, timeouts: Timeouts) -> Result<Self, OpenError> {
        Ok(Self {
            maps: Maps::open(pins)?,
            pins: pins.clone(),
            timeouts,
        })
    }

    fn config(&self) -> Result<Config, SweepError> {
        self.maps.config.get(&0, 0).map_err(SweepError::Config)
    }

    /// Removes what is over.
    pub fn sweep(&mut self) -> Result<Swept, SweepError> {
        let jiffies = Jiffies::open(&self.pins, self.config()?.hz);
        let (tcp, tcp_removed) = self.sweep_one(true, &jiffies)?;
        let (udp, udp_removed) = self.sweep_one(false, &jiffies)?;
        Ok(Swept {
            tcp,
            tcp_removed,
            udp,
            udp_removed,
        })
    }

    fn sweep_one(&mut self, tcp: bool, jiffies: &Jiffies) -> Result<(usize, usize), SweepError> {
        let (forward_name, reverse_name) = if tcp {
            ("TCP_FLOWS", "TCP_REVERSE")
        } else {
            ("UDP_FLOWS", "UDP_REVERSE")
        };
        let now = jiffies.now();
        let flows = readback::flows(&self.pins, forward_name)?;
        let reverse: HashMap<ReverseKey, ReverseValue> =
            readback::reverse(&self.pins, reverse_name)?
                .into_iter()
                .collect();
        if flows.is_empty() && reverse.is_empty() {
            return Ok((0, 0));
        }
        let backends = readback::backends(&self.pins)?;
        let frontends = readback::frontends(&self.pins)?;
        let frontends = frontends.iter().map(|(_, value)| value.id).collect();
        let judge = Judge {
            timeouts: &self.timeouts,
            backends: &backends,
            frontends: &frontends,
        };
        let mut over = Vec::new();
        let mut stay: HashSet<FlowKey> = HashSet::with_capacity(flows.len());
        for (key, value) in &flows {
            let pod = judge
                .pod(value.backend)
                .map(|pod| reverse_key(key, value, pod));
            let answered = pod.as_ref().and_then(|key| reverse.get(key));
            let mut idle = jiffies.age(now, value.seen);
            if let Some(answered) = answered {
                idle = idle.min(jiffies.age(now, answered.seen));
            }
            let fate = if tcp {
                judge.tcp(value, idle)
            } else {
                judge.udp(value, idle)
            };
            match fate {
                Fate::Over => over.push((*key, *value, pod.zip(answered.copied()))),
                Fate::Stays => {
                    stay.insert(*key);
                }
            }
        }
        let count = flows.len();
        let mut gone = 0;
        for (key, value, answered) in over {
            if self.remove(tcp, &key, &value, answered.as_ref())? {
                gone += 1;
            } else {
                stay.insert(key);
            }
        }
        // Answers of flows that are not there, or have another port by now.
        for (key, value) in &reverse {
            let idle = jiffies.age(now, value.seen);
            let alone = idle >= CLOSED && !stay.contains(&forward_key(key, value));
            if alone && !self.is_used(tcp, key, value) {
                self.remove_reverse(tcp, key)?;
            }
        }
        Ok((count, gone))
    }

    /// False if it was used meanwhile.
    fn remove(
        &mut self,
        tcp: bool,
        key: &FlowKey,
        value: &FlowValue,
        answered: Option<&(ReverseKey, ReverseValue)>,
    ) -> Result<bool, ApplyError> {
        if answered.is_some_and(|(key, value)| self.is_used(tcp, key, value)) {
            return Ok(false);
        }
        let (map, name) = if tcp {
            (&mut self.maps.tcp_flows, "TCP_FLOWS")
        } else {
            (&mut self.maps.udp_flows, "UDP_FLOWS")
        };
        if map.get(key, 0).is_ok_and(|there| there != *value) {
            return Ok(false);
        }
        removed(name, map.remove(key))?;
        if let Some((key, _)) = answered {
            self.remove_reverse(tcp, key)?;
        }
        Ok(true)
    }

    /// Whether the pod has spoken, or its ports are another flow's, since this
    /// was read.
    fn is_used(&self, tcp: bool, key: &ReverseKey, value: &ReverseValue) -> bool {
        let map = if tcp {
            &self.maps.tcp_reverse
        } else {
            &self.maps.udp_reverse
        };
        map.get(key, 0).is_ok_and(|there| there != *value)
    }

    fn remove_reverse(&mut self, tcp: bool, key: &ReverseKey) -> Result<(), ApplyError> {
        if tcp {
            removed("TCP_REVERSE", self.maps.tcp_reverse.remove(key))
        } else {
            removed("UDP_REVERSE", self.maps.udp_reverse.remove(key))
        }
    }

    /// Fills the half of the client filter that is not in use from the flows
    /// there are; says which half that is, for `CONFIG`.
    ///
    /// The programs mark new flows in both halves all the while, so the half
    /// is cleared first and only then are flows read. A word is written with
    /// what the programs have put there since. Between its reading and its
    /// writing a mark may be lost, which costs one client of a live flow its
    /// challenge to a stray SYN.
    pub fn rebuild_filter(&mut self) -> Result<u32, SweepError> {
        let config = self.config()?;
        let half = 1 - config.filter_half.min(1);
        let first = half * config.filter_words;
        let name = "CLIENT_FILTER";
        let filter = readback::entries::<u32, u64>(&self.pins, name)?;
        for (index, word) in filter {
            if word != 0 && (first..first + config.filter_words).contains(&index) {
                written(name, self.maps.client_filter.set(index, 0, 0))?;
            }
        }
        let mut words: BTreeMap<u32, u64> = BTreeMap::new();
        for (key, _) in readback::flows(&self.pins, "TCP_FLOWS")? {
            let (word, bit) = bit(&config, key.client, key.client_port);
            *words.entry(first + word).or_default() |= 1 << bit;
        }
        for (index, mut word) in words {
            word |= self.maps.client_filter.get(&index, 0).unwrap_or(0);
            written(name, self.maps.client_filter.set(index, word, 0))?;
        }
        Ok(half)
    }
}

fn bit(config: &Config, client: Addr, port: u16) -> (u32, u32) {
    let hash = source_hash(config.client_seed, client, port, TCP);
    client_bit(hash, config.filter_words)
}

pub(super) fn reverse_key(key: &FlowKey, value: &FlowValue, pod: &BackendValue) -> ReverseKey {
    ReverseKey {
        client: key.client,
        pod: pod.addr,
        client_port: value.pod_client_port,
        pod_port: pod.port,
        protocol: key.protocol,
    }
}

fn forward_key(key: &ReverseKey, value: &ReverseValue) -> FlowKey {
    FlowKey {
        client: key.client,
        vip: value.vip,
        client_port: value.client_port,
        vip_port: value.vip_port,
        protocol: key.protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: BackendRef = BackendRef {
        id: 3,
        generation: 9,
    };

    fn flow(backend: BackendRef, state: u16) -> FlowValue {
        FlowValue {
            backend,
            frontend: 1,
            seen: 0,
            client_fin: 0,
            pod_fin: 0,
            pod_client_port: 40000,
            state,
            pad: [0; 4],
        }
    }

    fn judged(flow: &FlowValue, idle_s: u64, udp: bool) -> Fate {
        let pod = BackendValue {
            addr: Addr::from(std::net::Ipv4Addr::new(10, 1, 1, 2)),
            port: 80,
            generation: 9,
            ifindex: 0,
            flags: 0,
        };
        let judge = Judge {
            timeouts: &Timeouts::default(),
            backends: &[(3, pod)].into(),
            frontends: &[1].into(),
        };
        let idle = Duration::from_secs(idle_s);
        if udp {
            judge.udp(flow, idle)
        } else {
            judge.tcp(flow, idle)
        }
    }

    /// Stays just before the limit, and is over at it.
    #[track_caller]
    fn limit(flow: &FlowValue, seconds: u64, udp: bool) {
        assert_eq!(judged(flow, seconds - 1, udp), Fate::Stays);
        assert_eq!(judged(flow, seconds, udp), Fate::Over);
    }

    #[test]
    fn a_flow_is_kept_for_as_long_as_its_state_says() {
        limit(&flow(POD, 0), 8 * 3600, false);
        limit(&flow(POD, state::CLIENT_FIN), 3600, false);
        limit(
            &flow(POD, state::POD_FIN | state::POD_FIN_ACKED),
            3600,
            false,
        );
        limit(&flow(POD, state::ENDED), 60, false);
        limit(&flow(POD, state::POD_RESET), 60, false);
        limit(&flow(POD, state::CLIENT_RESET), 10, false);
        limit(&flow(POD, state::UNPROVEN), 60, false);
        limit(&flow(POD, 0), 120, true);
    }

    #[test]
    fn a_flow_ends_with_its_pod_at_once() {
        let gone = BackendRef {
            generation: 8,
            ..POD
        };
        assert_eq!(judged(&flow(gone, 0), 0, false), Fate::Over);
        assert_eq!(judged(&flow(gone, 0), 0, true), Fate::Over);
    }

    #[test]
    fn flows_of_a_deleted_frontend_are_kept_for_a_minute() {
        let gone = BackendRef { id: 7, ..POD };
        let flow = FlowValue {
            frontend: 2,
            ..flow(gone, 0)
        };
        limit(&flow, 60, false);
        limit(&flow, 60, true);
    }

    #[test]
    fn both_directions_of_a_flow_name_each_other() {
        let key = FlowKey {
            client: Addr::from(std::net::Ipv4Addr::new(192, 0, 2, 9)),
            vip: Addr::from(std::net::Ipv4Addr::new(203, 0, 113, 80)),
            client_port: 50000,
            vip_port: 80,
            protocol: TCP.into(),
        };
        let reverse = ReverseValue {
            vip: key.vip,
            vip_port: 80,
            client_port: 50000,
            frontend: 1,
            seen: 0,
            flags: 0,
            pad: [0; 2],
        };
        let pod = BackendValue {
            addr: Addr::from(std::net::Ipv4Addr::new(10, 1, 1, 2)),
            port: 8080,
            generation: 9,
            ifindex: 0,
            flags: 0,
        };
        let there = reverse_key(&key, &flow(POD, 0), &pod);
        assert_eq!((there.client_port, there.pod_port), (40000, 8080));
        assert_eq!(forward_key(&there, &reverse), key);
    }
}
