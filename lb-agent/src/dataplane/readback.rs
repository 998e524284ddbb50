//! What the maps hold, as the core wants to see it.

use std::collections::BTreeMap;
use std::io;

use aya::maps::MapError;
use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::flow::{FlowKey, FlowValue, MovedValue, ReverseKey, ReverseValue};
use lb_common::frontend::{FrontendKey, FrontendValue};
use lb_common::maps::NodeNet;
use lb_common::node::{NodeName, NodeNetValue};
use lb_common::table::CHUNK_SLOTS;
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName};
use lb_common::vip::VipValue;
use lb_core::dataplane;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::batch::{self, read_all};
use super::maps::{Maps, OpenError, raw};
use super::pins::Pins;

/// The maps could not be read. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read the map {map}")]
    Map {
        map: &'static str,
        #[source]
        source: MapError,
    },
    #[error("cannot read the map {map} whole")]
    Whole {
        map: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The id in `NODE_NAMES` under which a node keeps its own name.
pub const OWN_NODE: u32 = 0;

/// All entries of one map.
pub fn entries<K, V>(pins: &Pins, map: &'static str) -> Result<Vec<(K, V)>, ReadError>
where
    K: FromBytes + KnownLayout + Immutable,
    V: FromBytes + KnownLayout + Immutable,
{
    read_all(&raw(pins, map)?).map_err(|source| ReadError::Whole { map, source })
}

/// Each entry of one map, without keeping them all.
pub fn each<K, V>(pins: &Pins, map: &'static str, visit: impl FnMut(K, V)) -> Result<(), ReadError>
where
    K: FromBytes + KnownLayout + Immutable,
    V: FromBytes + KnownLayout + Immutable,
{
    batch::each(&raw(pins, map)?, visit).map_err(|source| ReadError::Whole { map, source })
}

/// How many entries a map has.
pub fn count(pins: &Pins, map: &lb_common::maps::Map) -> Result<usize, ReadError> {
    let name = map.name;
    let counted = batch::count(&raw(pins, name)?, map.key_size, map.value_size);
    counted.map_err(|source| ReadError::Whole { map: name, source })
}

pub fn vips(pins: &Pins) -> Result<Vec<(Addr, VipValue)>, ReadError> {
    entries(pins, "VIPS")
}

pub fn frontends(pins: &Pins) -> Result<Vec<(FrontendKey, FrontendValue)>, ReadError> {
    entries(pins, "FRONTENDS")
}

pub fn endpoints(pins: &Pins) -> Result<Vec<(EndpointKey, EndpointValue)>, ReadError> {
    entries(pins, "ENDPOINTS")
}

pub fn names(pins: &Pins) -> Result<BTreeMap<u32, FrontendName>, ReadError> {
    Ok(entries(pins, "NAMES")?.into_iter().collect())
}

pub fn node_names(pins: &Pins) -> Result<BTreeMap<u32, NodeName>, ReadError> {
    Ok(entries(pins, "NODE_NAMES")?.into_iter().collect())
}

pub fn flows(pins: &Pins, map: &'static str) -> Result<Vec<(FlowKey, FlowValue)>, ReadError> {
    entries(pins, map)
}

/// Flows that live elsewhere.
pub fn moved(pins: &Pins) -> Result<Vec<(FlowKey, MovedValue)>, ReadError> {
    entries(pins, "MOVED")
}

pub fn reverse(
    pins: &Pins,
    map: &'static str,
) -> Result<Vec<(ReverseKey, ReverseValue)>, ReadError> {
    entries(pins, map)
}

/// The backends on this node, by id.
pub fn backends(pins: &Pins) -> Result<BTreeMap<u16, BackendValue>, ReadError> {
    let all = entries::<u32, BackendValue>(pins, "BACKENDS")?.into_iter();
    let used = all.filter(|(_, backend)| backend.generation != 0);
    let used = used.filter_map(|(id, backend)| Some((u16::try_from(id).ok()?, backend)));
    Ok(used.collect())
}

/// Everything that the agent alone writes.
pub fn read(pins: &Pins, maps: &Maps) -> Result<dataplane::Maps, ReadError> {
    let mut all = dataplane::Maps {
        vips: vips(pins)?
            .into_iter()
            .map(|(vip, value)| (vip, value.owned_until_ns != 0))
            .collect(),
        // Images know one value: which side it is on is for packets.
        frontends: frontends(pins)?
            .into_iter()
            .map(|(key, value)| (key, FrontendValue { side: 0, ..value }))
            .collect(),
        names: names(pins)?,
        endpoints: endpoints(pins)?.into_iter().collect(),
        backends: backends(pins)?,
        node_nets: entries::<NodeNet, NodeNetValue>(pins, "NODE_NETS")?
            .into_iter()
            .collect(),
        ..dataplane::Maps::default()
    };
    for value in all.frontends.values() {
        let slots = value.slots.min(u32::from(u16::MAX) + 1);
        let chunks = slots.div_ceil(u32::try_from(CHUNK_SLOTS).unwrap_or(u32::MAX));
        for chunk in value.chunk..value.chunk.saturating_add(chunks) {
            // A place beyond the end is read as empty.
            if let Ok(there) = maps.tables.get(&chunk, 0) {
                all.tables.insert(chunk, Box::new(there.slots));
            }
        }
    }
    for (id, name) in node_names(pins)? {
        if id == OWN_NODE {
            continue;
        }
        let value = maps.nodes.get(&id, 0).map_err(|source| ReadError::Map {
            map: "NODES",
            source,
        })?;
        if let Ok(id) = u16::try_from(id) {
            all.nodes.insert(id, value);
            all.node_names.insert(id, name);
        }
    }
    let one = |map| move |source| ReadError::Map { map, source };
    *all.node_macs = maps.node_macs.get(&0, 0).map_err(one("NODE_MACS"))?;
    *all.vip_filter = maps.vip_filter.get(&0, 0).map_err(one("VIP_FILTER"))?;
    *all.pod_filter = maps.pod_filter.get(&0, 0).map_err(one("POD_FILTER"))?;
    Ok(all)
}
