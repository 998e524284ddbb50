//! Handles to all pinned maps, opened once.

use std::path::PathBuf;

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::config::Config;
use lb_common::filter::AddrFilter;
use lb_common::flow::{
    FlowKey, FlowValue, MovedValue, ReverseKey, ReverseValue, ToldKey, ToldValue,
};
use lb_common::frontend::{FrontendBucket, FrontendEntry, FrontendKey, FrontendValue};
use lb_common::node::{NodeMacs, NodeName, NodeNetValue, NodeValue};
use lb_common::table::Chunk;
use lb_common::traffic::{EndpointKey, EndpointValue, FrontendName, Traffic};
use lb_common::vip::VipValue;

use super::pins::Pins;

/// Why the maps cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "there are no maps in {bpffs}: no agent has run with this folder, or it was purged; name \
         the folder of the agent with --bpffs or CORTEN_BPFFS, or start one with `lb-agent run`"
    )]
    NoMaps { bpffs: PathBuf },
    #[error("cannot open the map {map}")]
    Map {
        map: &'static str,
        #[source]
        source: MapError,
    },
}

/// The maps that this process reads or writes one entry at a time.
pub struct Maps {
    pub config: Array<MapData, Config>,
    pub vip_filter: Array<MapData, AddrFilter>,
    pub vips: HashMap<MapData, Addr, VipValue>,
    pub frontends: HashMap<MapData, FrontendKey, FrontendValue>,
    pub frontend_index: Array<MapData, FrontendBucket>,
    pub frontend_entries: Array<MapData, FrontendEntry>,
    pub tables: Array<MapData, Chunk>,
    pub backends: Array<MapData, BackendValue>,
    pub pod_filter: Array<MapData, AddrFilter>,
    pub nodes: Array<MapData, NodeValue>,
    pub node_macs: Array<MapData, NodeMacs>,
    pub node_nets: LpmTrie<MapData, Addr, NodeNetValue>,
    pub tcp_flows: HashMap<MapData, FlowKey, FlowValue>,
    pub tcp_reverse: HashMap<MapData, ReverseKey, ReverseValue>,
    pub udp_flows: HashMap<MapData, FlowKey, FlowValue>,
    pub udp_reverse: HashMap<MapData, ReverseKey, ReverseValue>,
    pub moved: HashMap<MapData, FlowKey, MovedValue>,
    pub told: HashMap<MapData, ToldKey, ToldValue>,
    pub client_filter: Array<MapData, u64>,
    pub counters: PerCpuArray<MapData, u64>,
    pub traffic: PerCpuArray<MapData, Traffic>,
    pub pod_traffic: PerCpuArray<MapData, Traffic>,
    pub endpoints: HashMap<MapData, EndpointKey, EndpointValue>,
    pub names: HashMap<MapData, u32, FrontendName>,
    pub node_names: HashMap<MapData, u32, NodeName>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

impl Maps {
    pub fn open(pins: &Pins) -> Result<Self, OpenError> {
        if !pins.exist() {
            return Err(OpenError::NoMaps {
                bpffs: pins.bpffs().to_owned(),
            });
        }
        Ok(Self {
            config: typed(pins, "CONFIG")?,
            vip_filter: typed(pins, "VIP_FILTER")?,
            vips: typed(pins, "VIPS")?,
            frontends: typed(pins, "FRONTENDS")?,
            frontend_index: typed(pins, "FRONTEND_INDEX")?,
            frontend_entries: typed(pins, "FRONTEND_ENTRIES")?,
            tables: typed(pins, "TABLES")?,
            backends: typed(pins, "BACKENDS")?,
            pod_filter: typed(pins, "POD_FILTER")?,
            nodes: typed(pins, "NODES")?,
            node_macs: typed(pins, "NODE_MACS")?,
            node_nets: typed(pins, "NODE_NETS")?,
            tcp_flows: typed(pins, "TCP_FLOWS")?,
            tcp_reverse: typed(pins, "TCP_REVERSE")?,
            udp_flows: typed(pins, "UDP_FLOWS")?,
            udp_reverse: typed(pins, "UDP_REVERSE")?,
            moved: typed(pins, "MOVED")?,
            told: typed(pins, "TOLD")?,
            client_filter: typed(pins, "CLIENT_FILTER")?,
            counters: typed(pins, "COUNTERS")?,
            traffic: typed(pins, "TRAFFIC")?,
            pod_traffic: typed(pins, "POD_TRAFFIC")?,
            endpoints: typed(pins, "ENDPOINTS")?,
            names: typed(pins, "NAMES")?,
            node_names: typed(pins, "NODE_NAMES")?,
        })
    }
}

/// A map as the kernel knows it, without types.
pub fn raw(pins: &Pins, map: &'static str) -> Result<MapData, OpenError> {
    MapData::from_pin(pins.map(map)).map_err(|source| OpenError::Map { map, source })
}

pub(super) fn typed<T>(pins: &Pins, map: &'static str) -> Result<T, OpenError>
where
    T: TryFrom<Map, Error = MapError>,
{
    Map::from_map_data(raw(pins, map)?)
        .and_then(T::try_from)
        .map_err(|source| OpenError::Map { map, source })
}

/// Sums what the CPUs have counted.
#[must_use]
pub fn total(values: &[Traffic]) -> Traffic {
    values
        .iter()
        .fold(Traffic::default(), |sum, value| Traffic {
            packets: sum.packets.wrapping_add(value.packets),
            bytes: sum.bytes.wrapping_add(value.bytes),
        })
}
