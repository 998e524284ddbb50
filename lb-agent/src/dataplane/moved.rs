//! Flows as agents tell each other about them: `MOVED` and `TOLD`, and which
//! flows live here.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use aya::maps::MapError;
use lb_common::flow::{FlowKey, FlowValue, MovedValue, TCP, ToldKey, ToldValue};
use lb_core::moved::{Living, Tables, told_key};

use super::apply::{ApplyError, removed, written};
use super::jiffies::Jiffies;
use super::maps::{Maps, OpenError};
use super::pins::Pins;
use super::readback::{self, ReadError};
use super::sweep::reverse_key;

/// The maps could not be used. What was written until then is written.
#[derive(Debug, thiserror::Error)]
pub enum MovedError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot read CONFIG")]
    Config(#[source] MapError),
}

/// Handles to these maps.
#[derive(Debug)]
pub struct MovedMaps {
    pins: Pins,
    maps: Maps,
    jiffies: Jiffies,
    /// What `TOLD` holds.
    told: BTreeMap<(u32, u16), u64>,
}

impl MovedMaps {
    pub fn open(pins: &Pins) -> Result<Self, MovedError> {
        let maps = Maps::open(pins)?;
        let told = readback::entries::<ToldKey, ToldValue>(pins, "TOLD")?;
        let told = told.into_iter().filter_map(|(key, value)| {
            let node = u16::try_from(key.node).ok()?;
            Some(((key.frontend, node), value.endpoints_hash))
        });
        let config = maps.config.get(&0, 0).map_err(MovedError::Config)?;
        Ok(Self {
            jiffies: Jiffies::open(pins, config.hz),
            pins: pins.clone(),
            told: told.collect(),
            maps,
        })
    }

    /// What `MOVED` holds.
    pub fn held(&self) -> Result<Vec<(FlowKey, u16)>, ReadError> {
        let held = readback::moved(&self.pins)?.into_iter();
        let held = held.filter_map(|(flow, value)| Some((flow, u16::try_from(value.node).ok()?)));
        Ok(held.collect())
    }

    pub fn hold(&mut self, flow: &FlowKey, node: u16) -> Result<(), ApplyError> {
        let value = MovedValue { node: node.into() };
        written("MOVED", self.maps.moved.insert(flow, value, 0))
    }

    pub fn release(&mut self, flow: &FlowKey) -> Result<(), ApplyError> {
        removed("MOVED", self.maps.moved.remove(flow))
    }

    /// Makes `TOLD` hold this. After an error it is tried again with the next.
    pub fn put_told(&mut self, wanted: &BTreeMap<(u32, u16), u64>) -> Result<(), ApplyError> {
        let over = self.told.keys().filter(|key| !wanted.contains_key(key));
        for key in over.copied().collect::<Vec<_>>() {
            removed("TOLD", self.maps.told.remove(&told_key(key)))?;
            self.told.remove(&key);
        }
        for (key, hash) in wanted {
            if self.told.get(key) == Some(hash) {
                continue;
            }
            let value = ToldValue {
                endpoints_hash: *hash,
            };
            written("TOLD", self.maps.told.insert(told_key(*key), value, 0))?;
            self.told.insert(*key, *hash);
        }
        Ok(())
    }

    /// How long ago the client of a flow that lives here was heard; none: it
    /// does not, or not any more, since its client was heard elsewhere later.
    pub fn compare(
        &mut self,
        flow: &FlowKey,
        idle_ms: u32,
        tables: &Tables,
    ) -> Result<Option<u32>, ApplyError> {
        let tcp = flow.protocol == u32::from(TCP);
        let there = if tcp {
            self.maps.tcp_flows.get(flow, 0)
        } else {
            self.maps.udp_flows.get(flow, 0)
        };
        let Some(value) = there.ok().filter(|value| tables.lives(value)) else {
            return Ok(None);
        };
        let ours_ms = millis(self.jiffies.age(self.jiffies.now(), value.seen));
        if ours_ms <= idle_ms {
            return Ok(Some(ours_ms));
        }
        self.remove(tcp, flow, &value)?;
        Ok(None)
    }

    fn remove(&mut self, tcp: bool, key: &FlowKey, value: &FlowValue) -> Result<(), ApplyError> {
        let maps = &mut self.maps;
        let pod = maps.backends.get(&value.backend.id.into(), 0).ok();
        let pod = pod.map(|pod| reverse_key(key, value, &pod));
        if tcp {
            removed("TCP_FLOWS", maps.tcp_flows.remove(key))?;
        } else {
            removed("UDP_FLOWS", maps.udp_flows.remove(key))?;
        }
        match pod {
            Some(pod) if tcp => removed("TCP_REVERSE", maps.tcp_reverse.remove(&pod)),
            Some(pod) => removed("UDP_REVERSE", maps.udp_reverse.remove(&pod)),
            None => Ok(()),
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Looks through all flows: those that live here and come elsewhere, or are
/// watched. Takes as long as it takes to read two large maps.
pub fn walk(
    pins: &Pins,
    hz: u32,
    tables: &Tables,
    watched: &HashSet<FlowKey>,
) -> Result<Vec<Living>, ReadError> {
    let jiffies = Jiffies::open(pins, hz);
    let now = jiffies.now();
    let mut found = Vec::new();
    for map in ["TCP_FLOWS", "UDP_FLOWS"] {
        readback::each(pins, map, |flow: FlowKey, value: FlowValue| {
            if !tables.lives(&value) {
                return;
            }
            let elsewhere = tables.elsewhere(&flow, &value);
            if elsewhere.is_some() || watched.contains(&flow) {
                found.push(Living {
                    flow,
                    idle_ms: millis(jiffies.age(now, value.seen)),
                    elsewhere,
                });
            }
        })?;
    }
    Ok(found)
}
