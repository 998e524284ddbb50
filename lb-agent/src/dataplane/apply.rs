//! Taking steps: the only place that writes what images speak of.
//!
//! A step that fails ends the run. What holds then is what the maps hold, so
//! it is read back; the next run starts from there. There is no rollback.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::Key;
use aya::maps::{MapError, PerCpuArray, PerCpuValues};
use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::config::Config;
use lb_common::maps::NodeNet;
use lb_common::node::{NodeName, NodeValue};
use lb_common::table::{CHUNK_SLOTS, Chunk, Slot};
use lb_common::traffic::Traffic;
use lb_common::vip::VipValue;
use lb_core::dataplane::{Image, Slots, Step};

use super::frontends;
use super::maps::{Maps, OpenError};
use super::pins::Pins;
use super::readback::{self, OWN_NODE, ReadError};

/// A write that failed. The steps before it are done, and it may be half done.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the map {map}")]
pub struct ApplyError {
    pub map: &'static str,
    #[source]
    pub source: MapError,
}

/// Why what was left half done could not be put right.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] ApplyError),
}

/// Something that holds what images speak of.
pub trait Target {
    fn take(&mut self, step: &Step) -> Result<(), ApplyError>;
    fn read(&self) -> Result<Image, ReadError>;
}

/// Takes the steps in their order, up to the first that fails.
pub fn run(target: &mut impl Target, steps: &[Step]) -> Result<(), ApplyError> {
    steps.iter().try_for_each(|step| target.take(step))
}

/// The kernel's maps.
#[derive(Debug)]
pub struct Kernel {
    maps: Maps,
    pins: Pins,
    /// The uplinks that VIPs are answered on, where they are not all.
    links: BTreeMap<Addr, u32>,
    /// No VIP in the maps says anything else; not known of those that another
    /// agent has written.
    links_hold: bool,
}

/// Of every uplink there may be.
const ALL_LINKS: u32 = u32::MAX;

impl Kernel {
    pub fn open(pins: &Pins) -> Result<Self, OpenError> {
        Ok(Self {
            maps: Maps::open(pins)?,
            pins: pins.clone(),
            links: BTreeMap::new(),
            links_hold: false,
        })
    }

    /// Puts right what an agent that was killed has left half done, out of
    /// sight of images.
    pub fn mend(&mut self) -> Result<(), MendError> {
        let all = readback::frontends(&self.pins)?;
        let mended = frontends::mend(&mut self.maps, &all)?;
        if mended > 0 {
            tracing::info!(mended, "frontends' entries were behind");
        }
        Ok(())
    }

    /// This node's configuration; all zeros in maps that were just made.
    pub fn config(&self) -> Result<Config, ReadError> {
        let config = self.maps.config.get(&0, 0);
        config.map_err(|source| ReadError::Map {
            map: "CONFIG",
            source,
        })
    }

    pub fn put_config(&mut self, config: Config) -> Result<(), ApplyError> {
        written("CONFIG", self.maps.config.set(0, config, 0))
    }

    /// From now on VIPs are answered for on these uplinks (bit n: the n-th of
    /// the configuration), and those not named on all. Those in `ours`, which
    /// the maps have already, are put right.
    pub fn set_links(
        &mut self,
        links: BTreeMap<Addr, u32>,
        ours: &[Addr],
    ) -> Result<(), ApplyError> {
        // VIPs that are written later are written with them, so that only other
        // links are a reason to ask the kernel about each.
        if self.links_hold && self.links == links {
            return Ok(());
        }
        self.links_hold = false;
        self.links = links;
        for vip in ours {
            let there = self.maps.vips.get(vip, 0);
            let links = self.links_of(*vip);
            if there.is_ok_and(|there| there.owned_until_ns != 0 && there.links != links) {
                self.put_vip(*vip, true)?;
            }
        }
        self.links_hold = true;
        Ok(())
    }

    fn links_of(&self, vip: Addr) -> u32 {
        self.links.get(&vip).copied().unwrap_or(ALL_LINKS)
    }

    /// Says that this node owns a VIP, for as long as the fence lets it, or
    /// that another one does.
    pub fn put_vip(&mut self, vip: Addr, ours: bool) -> Result<(), ApplyError> {
        let value = if ours {
            VipValue::ours(self.links_of(vip))
        } else {
            VipValue::OTHERS
        };
        written("VIPS", self.maps.vips.insert(vip, value, 0))
    }

    /// This node's own name, for people who look at the maps.
    pub fn put_own_name(&mut self, name: NodeName) -> Result<(), ApplyError> {
        let written_before = self.maps.node_names.get(&OWN_NODE, 0);
        if written_before.is_ok_and(|there| there == name) {
            return Ok(());
        }
        written("NODE_NAMES", self.maps.node_names.insert(OWN_NODE, name, 0))
    }

    fn put_table(&mut self, first: u32, slots: &Slots) -> Result<(), ApplyError> {
        let chunks = slots.len().div_ceil(CHUNK_SLOTS);
        let mut slots = slots.iter();
        for place in (first..).take(chunks) {
            let mut chunk = Chunk {
                slots: [Slot::default(); CHUNK_SLOTS],
            };
            for (to, from) in chunk.slots.iter_mut().zip(slots.by_ref()) {
                *to = from;
            }
            written("TABLES", self.maps.tables.set(place, chunk, 0))?;
        }
        Ok(())
    }
}

impl Target for Kernel {
    fn take(&mut self, step: &Step) -> Result<(), ApplyError> {
        let maps = &mut self.maps;
        match step {
            Step::PutNode(id, node) => {
                let id = u32::from(*id);
                written("NODES", maps.nodes.set(id, node.value, 0))?;
                written("NODE_NAMES", maps.node_names.insert(id, node.name, 0))
            }
            Step::PutNodeNet(net, value) => {
                written("NODE_NETS", maps.node_nets.insert(&net_key(net), value, 0))
            }
            Step::PutNodeMacs(macs) => {
                written("NODE_MACS", maps.node_macs.set(0, macs.as_ref(), 0))
            }
            Step::PutBackend(id, value) => {
                written("BACKENDS", maps.backends.set(u32::from(*id), value, 0))
            }
            Step::PutPodFilter(filter) => {
                written("POD_FILTER", maps.pod_filter.set(0, filter.as_ref(), 0))
            }
            Step::PutVipFilter(filter) => {
                written("VIP_FILTER", maps.vip_filter.set(0, filter.as_ref(), 0))
            }
            Step::PutTable(first, slots) => self.put_table(*first, slots),
            Step::PutName(id, name) => written("NAMES", maps.names.insert(id, name.as_ref(), 0)),
            Step::PutEndpoint(key, value) => {
                written("ENDPOINTS", maps.endpoints.insert(key, value, 0))
            }
            Step::PutFrontend(key, value) => frontends::put(maps, key, *value),
            Step::PutVip(vip, ours) => self.put_vip(*vip, *ours),
            Step::ResetTraffic(id) => reset("TRAFFIC", &mut maps.traffic, *id),
            Step::ResetPodTraffic(id) => {
                reset("POD_TRAFFIC", &mut maps.pod_traffic, u32::from(*id))
            }
            Step::RemoveVip(vip) => removed("VIPS", maps.vips.remove(vip)),
            Step::RemoveFrontend(key) => frontends::remove(maps, key),
            Step::RemoveEndpoint(key) => removed("ENDPOINTS", maps.endpoints.remove(key)),
            Step::RemoveName(id) => removed("NAMES", maps.names.remove(id)),
            Step::RemoveBackend(id) => {
                written("BACKENDS", maps.backends.set(u32::from(*id), NO_BACKEND, 0))
            }
            Step::RemoveNodeNet(net) => removed("NODE_NETS", maps.node_nets.remove(&net_key(net))),
            Step::RemoveNode(id) => {
                let id = u32::from(*id);
                written("NODES", maps.nodes.set(id, NodeValue::UNKNOWN, 0))?;
                removed("NODE_NAMES", maps.node_names.remove(&id))
            }
        }
    }

    fn read(&self) -> Result<Image, ReadError> {
        Ok(Image::read(&readback::read(&self.pins, &self.maps)?))
    }
}

const NO_BACKEND: BackendValue = BackendValue {
    addr: Addr::UNSPECIFIED,
    port: 0,
    generation: 0,
    ifindex: 0,
    flags: 0,
};

fn net_key(net: &NodeNet) -> Key<Addr> {
    Key::new(net.prefix_len, net.addr)
}

fn reset(
    map: &'static str,
    counters: &mut PerCpuArray<aya::maps::MapData, Traffic>,
    id: u32,
) -> Result<(), ApplyError> {
    let there = counters.get(&id, 0);
    let zeros = there.and_then(|there| {
        let zeros = vec![Traffic::default(); there.len()];
        PerCpuValues::try_from(zeros).map_err(MapError::IoError)
    });
    written(map, zeros.and_then(|zeros| counters.set(id, zeros, 0)))
}

pub(super) fn written(map: &'static str, result: Result<(), MapError>) -> Result<(), ApplyError> {
    result.map_err(|source| ApplyError { map, source })
}

/// What is not there need not be removed.
pub(super) fn removed(map: &'static str, result: Result<(), MapError>) -> Result<(), ApplyError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => written(map, other),
    }
}

#[cfg(test)]
#[path = "../../tests/fixtures/mod.rs"]
mod fixtures;

#[cfg(test)]
mod tests {
    use lb_core::dataplane::{Ledger, Maps, Settle, Sizes, diff, plan};
    use lb_core::desired::{Memo, desired};
    use lb_core::model::Inputs;
    use lb_core::time::Timestamp;
    use proptest::prelude::*;

    use std::time::Duration;

    use super::*;

    /// Maps in memory, the n-th write to which fails, half done where it can be.
    struct Failing {
        maps: Maps,
        writes_left: Option<usize>,
    }

    impl Target for Failing {
        fn take(&mut self, step: &Step) -> Result<(), ApplyError> {
            if self.writes_left == Some(0) {
                self.writes_left = None;
                if let Step::PutTable(first, slots) = step {
                    let half = slots.iter().take(slots.len() / 2).collect();
                    self.maps.apply(&Step::PutTable(*first, half));
                }
                return Err(ApplyError {
                    map: "TABLES",
                    source: MapError::KeyNotFound,
                });
            }
            self.writes_left = self.writes_left.map(|left| left - 1);
            self.maps.apply(step);
            Ok(())
        }

        fn read(&self) -> Result<Image, ReadError> {
            Ok(Image::read(&self.maps))
        }
    }

    const SERVICES: [&str; 3] = ["web", "dns", "api"];

    /// The pods of each service: what the inputs are made from.
    type Pods = Vec<Vec<u8>>;

    fn inputs(pods: &Pods) -> Inputs {
        let mut inputs = fixtures::cluster(3);
        for ((name, pods), vip) in SERVICES.iter().zip(pods).zip(80..) {
            fixtures::add_service(&mut inputs, name, vec![[203, 0, 113, vip].into()], pods);
        }
        inputs
    }

    fn pods() -> impl Strategy<Value = Pods> {
        let of_one = prop::collection::btree_set(1..20_u8, 0..6);
        let of_one = of_one.prop_map(|pods| pods.into_iter().collect());
        prop::collection::vec(of_one, 0..=SERVICES.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn after_any_failures_the_next_run_equals_the_target(
            rounds in prop::collection::vec((pods(), 0..40_usize), 1..6),
            last in pods(),
        ) {
            let mut target = Failing { maps: Maps::default(), writes_left: None };
            let now = Timestamp::since_boot(Duration::from_secs(1000));
            let mut ledger = Ledger::new(Sizes::default(), Settle::default(), now);
            let mut memo = Memo::default();
            let mut current = target.read().unwrap();
            for (pods, writes) in &rounds {
                target.writes_left = Some(*writes);
                let desired = desired(&inputs(pods), &mut memo);
                let (image, _) = plan(&desired, &current, &mut ledger, now);
                current = match run(&mut target, &diff(&current, &image)) {
                    Ok(()) => image,
                    Err(_) => target.read().unwrap(),
                };
                prop_assert_eq!(&target.read().unwrap(), &current);
            }
            target.writes_left = None;
            let desired = desired(&inputs(&last), &mut memo);
            let (image, _) = plan(&desired, &current, &mut ledger, now);
            run(&mut target, &diff(&current, &image)).unwrap();
            prop_assert_eq!(target.read().unwrap(), image);
        }
    }
}
