//! Every map, in the order of `lb_common::maps::MAPS`. Sizes are defaults; the
//! loader may set others.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    addr::Addr,
    backend::{BackendRef, BackendValue},
    config::Config,
    filter::AddrFilter,
    flow::{
        EmbryoSet, FlowKey, FlowValue, MovedValue, ReverseKey, ReverseValue, ToldKey, ToldValue,
    },
    fragment::{FragmentKey, FragmentValue},
    frontend::{
        FrontendBucket, FrontendEntry, FrontendKey, FrontendValue, bucket_and_tag, buckets_for,
        id_and_side,
    },
    limits::{BACKENDS_MAX, NODES_MAX, default_size},
    node::{NodeMacs, NodeName, NodeNetValue, NodeValue},
    pending::Pending,
    table::{CHUNK_SLOTS, Chunk, Slot},
    traffic::{EndpointKey, EndpointValue, FrontendName, Rate, Traffic, rate},
    verdict,
    vip::{Claim, Fence, VipValue},
};

const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
/// Entries of a map that can be mapped into memory begin at a page, and so do
/// not lie across more cache lines than they must. Nobody maps them.
const ALIGNED: usize = BPF_F_MMAPABLE as usize;

#[btf_map]
pub static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
pub static VIP_FILTER: Array<AddrFilter, 1> = Array::new();
#[btf_map]
pub static VIPS: HashMap<Addr, VipValue, { default_size::VIPS as usize }> = HashMap::new();
#[btf_map]
pub static FENCE: Array<Fence, 1> = Array::new();
#[btf_map]
pub static CLAIMS: LruHashMap<Addr, Claim, { default_size::CLAIMS as usize }> = LruHashMap::new();
#[btf_map]
pub static FRONTENDS: HashMap<FrontendKey, FrontendValue, { default_size::FRONTENDS as usize }> =
    HashMap::new();
#[btf_map]
pub static FRONTEND_INDEX: Array<
    FrontendBucket,
    { buckets_for(default_size::FRONTENDS) as usize },
    ALIGNED,
> = Array::new();
#[btf_map]
pub static FRONTEND_ENTRIES: Array<FrontendEntry, { default_size::FRONTENDS as usize }> =
    Array::new();
#[btf_map]
pub static TABLES: Array<Chunk, { default_size::TABLE_CHUNKS as usize }> = Array::new();
#[btf_map]
pub static BACKENDS: Array<BackendValue, { BACKENDS_MAX as usize }> = Array::new();
#[btf_map]
pub static POD_FILTER: Array<AddrFilter, 1> = Array::new();
#[btf_map]
pub static NODES: Array<NodeValue, { NODES_MAX as usize }> = Array::new();
#[btf_map]
pub static NODE_MACS: Array<NodeMacs, 1> = Array::new();
#[btf_map]
pub static NODE_NETS: LpmTrie<Addr, NodeNetValue, { 16 * NODES_MAX as usize }> = LpmTrie::new();
#[btf_map]
pub static EMBRYONIC: Array<EmbryoSet, { default_size::EMBRYO_SETS as usize }, ALIGNED> =
    Array::new();
#[btf_map]
pub static TCP_FLOWS: HashMap<FlowKey, FlowValue, { default_size::TCP_FLOWS as usize }> =
    HashMap::new();
#[btf_map]
pub static TCP_REVERSE: HashMap<ReverseKey, ReverseValue, { default_size::TCP_FLOWS as usize }> =
    HashMap::new();
#[btf_map]
pub static UDP_FLOWS: LruHashMap<FlowKey, FlowValue, { default_size::UDP_FLOWS as usize }> =
    LruHashMap::new();
#[btf_map]
pub static UDP_REVERSE: LruHashMap<ReverseKey, ReverseValue, { default_size::UDP_FLOWS as usize }> =
    LruHashMap::new();
#[btf_map]
pub static CLIENT_FILTER: Array<u64, { 2 * default_size::CLIENT_FILTER_WORDS as usize }> =
    Array::new();
#[btf_map]
pub static MOVED: HashMap<FlowKey, MovedValue, { default_size::MOVED as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub static TOLD: HashMap<ToldKey, ToldValue, { default_size::TOLD as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue, { default_size::FRAGMENTS as usize }> =
    LruHashMap::new();
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { verdict::COUNTERS as usize }> = PerCpuArray::new();
#[btf_map]
pub static TRAFFIC: PerCpuArray<Traffic, { default_size::FRONTENDS as usize }> = PerCpuArray::new();
#[btf_map]
pub static POD_TRAFFIC: PerCpuArray<Traffic, { BACKENDS_MAX as usize }> = PerCpuArray::new();
#[btf_map]
pub static RATES: PerCpuArray<Rate, { rate::KINDS as usize }> = PerCpuArray::new();
#[btf_map]
pub static PENDING: PerCpuArray<Pending, 1> = PerCpuArray::new();
#[btf_map]
pub static ENDPOINTS: HashMap<
    EndpointKey,
    EndpointValue,
    { default_size::ENDPOINTS as usize },
    ON_DEMAND,
> = HashMap::new();
#[btf_map]
pub static NAMES: HashMap<u32, FrontendName, { default_size::FRONTENDS as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub static NODE_NAMES: HashMap<u32, NodeName, { NODES_MAX as usize }, ON_DEMAND> = HashMap::new();

/// This node's configuration. There is always one; the agent writes it before
/// it attaches anything.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0).map(extend)
}

/// Entries of arrays live as long as the program: give them that lifetime.
#[inline(always)]
fn extend<T>(entry: &T) -> &'static T {
    // SAFETY: array maps never free or move their entries while a program
    // that uses them is loaded.
    unsafe { &*core::ptr::from_ref(entry) }
}

/// Looks a key up in a hash map, as a pointer. The kernel may reuse the entry
/// while we look at it, so only plain data is ever read through it.
macro_rules! find {
    ($map:ident, $key:expr) => {
        $map.get_ptr_mut($key).map(|entry| {
            // SAFETY: the kernel gives a pointer to a live value, and keeps
            // its memory (though maybe not its meaning) until we return.
            unsafe { &mut *entry }
        })
    };
}
pub(crate) use find;

#[inline(always)]
pub fn vip(addr: Addr) -> Option<VipValue> {
    find!(VIPS, &addr).map(|vip| *vip)
}

/// Until when this node answers for any VIP.
#[inline(always)]
pub fn fence() -> Fence {
    FENCE.get(0).copied().unwrap_or_default()
}

/// The frontend of a flow and its place; `vip_hash` is that of its VIP.
///
/// The index leads to nearly all. Those for which it has no way, or another's
/// with the same tag, are in the hash map, which also knows what is no frontend
/// at all. Either gives an entry of one array, so that the verifier follows one
/// path from here.
#[inline(always)]
pub fn frontend(
    config: &Config,
    whose: &FlowKey,
    vip_hash: u64,
) -> Option<(u32, &'static FrontendValue)> {
    let protocol = whose.protocol as u8;
    let (bucket, tag) = bucket_and_tag(vip_hash, whose.vip_port, protocol, config.frontend_buckets);
    let mut place = FRONTEND_INDEX.get(bucket)?.find(tag);
    let mut entry = entry_at(place);
    if !entry.is_some_and(|entry| entry.key.is_of(whose)) {
        // In scratch memory: the stack is small.
        let key = &mut pending()?.frontend_key;
        *key = FrontendKey::new(whose.vip, whose.vip_port, protocol);
        place = find!(FRONTENDS, &*key)?.place();
        entry = entry_at(place);
    }
    Some((place, entry?.value(place)))
}

#[inline(always)]
fn entry_at(place: u32) -> Option<&'static FrontendEntry> {
    FRONTEND_ENTRIES.get(id_and_side(place).0).map(extend)
}

/// The value of a frontend at its place.
#[inline(always)]
pub fn frontend_at(place: u32) -> Option<&'static FrontendValue> {
    Some(entry_at(place)?.value(place))
}

/// The slot at `index` of the table that begins at `chunk`.
#[inline(always)]
pub fn slot(chunk: u32, index: u32) -> Option<Slot> {
    let chunk = TABLES.get(chunk + (index >> 8))?;
    Some(chunk.slots[index as usize & (CHUNK_SLOTS - 1)])
}

/// A backend by its id, if there is one.
#[inline(always)]
pub fn backend(id: u16) -> Option<&'static BackendValue> {
    BACKENDS
        .get(u32::from(id))
        .map(extend)
        .filter(|backend| backend.generation != 0)
}

/// The backend that a flow entry names, unless it has gone.
#[inline(always)]
pub fn backend_of(named: BackendRef) -> Option<&'static BackendValue> {
    BACKENDS
        .get(u32::from(named.id))
        .map(extend)
        .filter(|backend| backend.generation == named.generation && named.generation != 0)
}

#[inline(always)]
pub fn node(id: u16) -> Option<&'static NodeValue> {
    NODES.get(u32::from(id)).map(extend)
}

/// Whether a bit of a filter is set.
macro_rules! filtered {
    ($map:ident, $bit:expr) => {{
        let (word, mask) = $bit;
        match $map.get(0) {
            Some(filter) => filter.words[word & (lb_common::filter::FILTER_WORDS - 1)] & mask != 0,
            None => false,
        }
    }};
}
pub(crate) use filtered;

/// What stages leave for each other, on this CPU.
#[inline(always)]
pub fn pending() -> Option<&'static mut Pending> {
    PENDING.get_ptr_mut(0).map(|pending| {
        // SAFETY: a per-CPU entry of an array, and one packet at a time is in
        // hand on a CPU.
        unsafe { &mut *pending }
    })
}

/// The VIP and port of a frontend, by its id.
#[inline(always)]
pub fn frontend_key(id: u32) -> Option<&'static FrontendKey> {
    FRONTEND_ENTRIES.get(id).map(|entry| &extend(entry).key)
}
