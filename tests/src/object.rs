//! The data plane in the kernel, attached to nothing: its maps filled by hand,
//! one packet at a time put through it (`BPF_PROG_TEST_RUN`).

pub mod verify;
pub mod world;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result, bail};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod, VerifierLogLevel};
use lb_common::addr::Addr;
use lb_common::backend::BackendValue;
use lb_common::config::{Config, Uplink};
use lb_common::filter::{AddrFilter, FILTER_WORDS, pod_bit, vip_bit, vip_hash};
use lb_common::frontend::{
    FrontendBucket, FrontendEntry, FrontendKey, FrontendValue, bucket_and_tag, buckets_for, place,
};
use lb_common::limits::UPLINKS_MAX;
use lb_common::maps::MAPS;
use lb_common::node::{
    MAC_BUCKETS, MacBucket, MacEntry, NodeMacs, NodeNetValue, NodeValue, kind, mac_bits, mac_bucket,
};
use lb_common::table::{CHUNK_SLOTS, Chunk, Slot};
use lb_common::tunnel::DEFAULT_PORT;
use lb_common::verdict::Reason;
use lb_common::vip::{Claim, Fence, VipValue};

/// What the kernel says is the ingress device of a test run: loopback.
pub const UPLINK: u32 = 1;

/// A budget that no test uses up.
const AMPLE: u32 = 1_000_000;

/// Room for a packet that grew.
const GROWN: usize = 512;

/// `target/bpf/lb.o`, or what `LB_OBJECT` names.
#[must_use]
pub fn path() -> PathBuf {
    std::env::var_os("LB_OBJECT").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/lb.o")),
        PathBuf::from,
    )
}

/// Entries of the maps that a world needs fewer or more of than a node does.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub vips: u32,
    pub frontends: u32,
    pub chunks: u32,
    pub flows: u32,
    pub udp_flows: u32,
    /// Powers of two.
    pub embryo_sets: u32,
    pub filter_words: u32,
}

impl Sizes {
    pub const SMALL: Self = Self {
        vips: 64,
        frontends: 256,
        chunks: 256,
        flows: 1024,
        udp_flows: 1024,
        embryo_sets: 64,
        filter_words: 1024,
    };

    fn of(&self, map: &str) -> Option<u32> {
        Some(match map {
            "VIPS" => self.vips,
            "FRONTENDS" | "FRONTEND_ENTRIES" | "TRAFFIC" => self.frontends,
            "FRONTEND_INDEX" => buckets_for(self.frontends),
            "TABLES" => self.chunks,
            "TCP_FLOWS" | "TCP_REVERSE" => self.flows,
            "UDP_FLOWS" | "UDP_REVERSE" => self.udp_flows,
            "EMBRYONIC" => self.embryo_sets,
            "CLIENT_FILTER" => 2 * self.filter_words,
            _ => return None,
        })
    }
}

/// The programs and maps of one node, without the node.
#[derive(Debug)]
pub struct Object {
    ebpf: Ebpf,
    config: Config,
    next_chunk: u32,
    next_frontend: u32,
}

/// What a program did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub action: u32,
    /// As it left the program.
    pub frame: Vec<u8>,
    /// What was counted on the way.
    pub counted: Vec<Reason>,
}

/// XDP's actions, and TC's.
pub mod action {
    pub const XDP_DROP: u32 = 1;
    pub const XDP_PASS: u32 = 2;
    pub const XDP_TX: u32 = 3;
    pub const XDP_REDIRECT: u32 = 4;
    pub const TC_OK: u32 = 0;
    pub const TC_UNSPEC: u32 = u32::MAX;
    pub const TC_SHOT: u32 = 2;
    pub const TC_REDIRECT: u32 = 7;
}

impl Object {
    /// Loads all programs and maps; the uplink has this MAC.
    pub fn load(uplink_mac: [u8; 6], sizes: &Sizes) -> Result<Self> {
        let path = path();
        let bytes = std::fs::read(&path)
            .with_context(|| format!("no {}: `cargo xtask build-ebpf`", path.display()))?;
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::STATS);
        for map in MAPS {
            if let Some(entries) = sizes.of(map.name) {
                loader.map_max_entries(map.name, entries);
            }
        }
        let mut ebpf = loader.load(&bytes).context("the object does not load")?;
        for (name, program) in ebpf.programs_mut() {
            match program {
                aya::programs::Program::Xdp(program) => program.load(),
                aya::programs::Program::SchedClassifier(program) => program.load(),
                _ => continue,
            }
            .with_context(|| format!("the kernel does not take {name}"))?;
        }
        let mut object = Self {
            ebpf,
            config: config(uplink_mac, sizes),
            next_chunk: 0,
            next_frontend: 1,
        };
        object.configure(|_| {})?;
        object.fence(u64::MAX)?;
        Ok(object)
    }

    /// The programs and maps themselves.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the configuration.
    pub fn configure(&mut self, change: impl FnOnce(&mut Config)) -> Result<()> {
        change(&mut self.config);
        let config = self.config;
        self.array("CONFIG")?.set(0, config, 0)?;
        Ok(())
    }

    pub fn array<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map = self.ebpf.map_mut(name);
        let map = map.with_context(|| format!("no program uses the map {name}"))?;
        Ok(Array::try_from(map)?)
    }

    pub fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name);
        let map = map.with_context(|| format!("no program uses the map {name}"))?;
        Ok(HashMap::try_from(map)?)
    }

    /// Until when this node may answer for any VIP.
    pub fn fence(&mut self, until_ns: u64) -> Result<()> {
        self.array("FENCE")?.set(0, Fence { until_ns }, 0)?;
        Ok(())
    }

    /// A VIP of this node, on the uplinks of these bits.
    pub fn vip_on(&mut self, vip: IpAddr, links: u32) -> Result<()> {
        self.hash::<Addr, _>("VIPS")?
            .insert(Addr::from(vip), VipValue::ours(links), 0)?;
        Ok(())
    }

    /// Who else said to have a VIP.
    pub fn claims(&mut self) -> Result<Vec<(Addr, Claim)>> {
        let map = self.hash::<Addr, Claim>("CLAIMS")?;
        Ok(map.iter().collect::<Result<_, _>>()?)
    }

    pub fn forget_claims(&mut self) -> Result<()> {
        for (vip, _) in self.claims()? {
            self.hash::<Addr, Claim>("CLAIMS")?.remove(&vip)?;
        }
        Ok(())
    }

    /// A VIP that this node may answer for until `until_ns` of
    /// CLOCK_BOOTTIME; 0: another node owns it.
    pub fn vip(&mut self, vip: IpAddr, until_ns: u64) -> Result<()> {
        let value = VipValue {
            owned_until_ns: until_ns,
            ..VipValue::ours(u32::MAX)
        };
        self.hash::<Addr, _>("VIPS")?
            .insert(Addr::from(vip), value, 0)?;
        self.set_bit("VIP_FILTER", vip_bit(vip.into()))
    }

    /// A frontend all of whose slots say the same. Gives its id.
    pub fn frontend(
        &mut self,
        frontend: SocketAddr,
        protocol: u8,
        slot: Slot,
        flags: u32,
    ) -> Result<u32> {
        self.frontend_with(frontend, protocol, [slot; CHUNK_SLOTS], flags)
    }

    /// A frontend with a table of 256 slots. Gives its id.
    pub fn frontend_with(
        &mut self,
        frontend: SocketAddr,
        protocol: u8,
        slots: [Slot; CHUNK_SLOTS],
        flags: u32,
    ) -> Result<u32> {
        let chunk = self.next_chunk;
        self.next_chunk += 1;
        self.array("TABLES")?.set(chunk, Chunk { slots }, 0)?;
        let id = self.next_frontend;
        self.next_frontend += 1;
        let value = FrontendValue {
            seed: 0x1234_5678_9abc_def0 ^ u64::from(id) << 32,
            endpoints_hash: u64::from(id),
            chunk,
            slots: CHUNK_SLOTS.try_into()?,
            id,
            flags,
            changed_s: 0,
            side: 0,
        };
        let key = FrontendKey::new(frontend.ip().into(), frontend.port(), protocol);
        self.write_frontend(key, value)?;
        self.index(&key, |bucket, tag| {
            bucket.put(tag, place(id, 0));
        })?;
        Ok(id)
    }

    /// Changes the bucket of a frontend in the index.
    pub fn index(
        &mut self,
        key: &FrontendKey,
        change: impl FnOnce(&mut FrontendBucket, u32),
    ) -> Result<()> {
        let buckets = self.config.frontend_buckets;
        let (number, tag) = bucket_and_tag(vip_hash(key.vip), key.port, key.protocol, buckets);
        let mut index = self.array::<FrontendBucket>("FRONTEND_INDEX")?;
        let mut bucket = index.get(&number, 0)?;
        change(&mut bucket, tag);
        index.set(number, bucket, 0)?;
        Ok(())
    }

    fn write_frontend(&mut self, key: FrontendKey, value: FrontendValue) -> Result<()> {
        self.hash("FRONTENDS")?.insert(key, value, 0)?;
        let entry = FrontendEntry {
            key,
            pad: 0,
            values: [value; 2],
        };
        self.array("FRONTEND_ENTRIES")?.set(value.id, entry, 0)?;
        Ok(())
    }

    /// Sets the flags of a frontend that there is.
    pub fn frontend_flags(
        &mut self,
        frontend: SocketAddr,
        protocol: u8,
        flags: u32,
    ) -> Result<FrontendValue> {
        let key = FrontendKey::new(frontend.ip().into(), frontend.port(), protocol);
        let frontends = self.hash::<_, FrontendValue>("FRONTENDS")?;
        let value = FrontendValue {
            flags,
            ..frontends.get(&key, 0)?
        };
        self.write_frontend(key, value)?;
        Ok(value)
    }

    /// A pod on this node, generation 1, on a device of this index.
    pub fn backend(&mut self, id: u16, pod: SocketAddr, ifindex: u32) -> Result<()> {
        let value = BackendValue {
            addr: pod.ip().into(),
            port: pod.port(),
            generation: 1,
            ifindex,
            flags: 0,
        };
        self.array("BACKENDS")?.set(id.into(), value, 0)?;
        self.set_bit("POD_FILTER", pod_bit(pod.ip().into(), pod.port()))
    }

    /// The way to a node.
    pub fn node(&mut self, id: u16, node: NodeValue) -> Result<()> {
        self.array("NODES")?.set(id.into(), node, 0)?;
        Ok(())
    }

    /// The MAC of a node on the uplink's link.
    pub fn node_mac(&mut self, id: u16, mac: [u8; 6]) -> Result<()> {
        // The table of MACs is one value of 128 KiB, and aya passes values by
        // value: more than a test's stack holds in an unoptimised build.
        const STACK: usize = 16 << 20;
        thread::scope(|scope| {
            let write = || self.write_mac(MacEntry { mac, node: id });
            let thread = thread::Builder::new().stack_size(STACK);
            let thread = thread.spawn_scoped(scope, write)?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn write_mac(&mut self, entry: MacEntry) -> Result<()> {
        let mut macs = self.array::<NodeMacs>("NODE_MACS")?;
        let mut value = macs.get(&0, 0).unwrap_or(NodeMacs {
            buckets: [MacBucket::default(); MAC_BUCKETS],
        });
        let bucket = &mut value.buckets[mac_bucket(mac_bits(entry.mac))];
        let Some(way) = bucket.ways.iter_mut().find(|way| way.node == 0) else {
            bail!("more MACs in one bucket than it has ways");
        };
        *way = entry;
        macs.set(0, value, 0)?;
        Ok(())
    }

    /// An address range of a node: its own addresses, or those of its pods.
    pub fn node_net(&mut self, id: u16, addr: IpAddr, prefix: u32, own: bool) -> Result<()> {
        let prefix = if addr.is_ipv4() { 96 + prefix } else { prefix };
        let map = self.ebpf.map_mut("NODE_NETS").context("no NODE_NETS")?;
        let mut nets = LpmTrie::<_, Addr, NodeNetValue>::try_from(map)?;
        let value = NodeNetValue {
            node: id.into(),
            own: own.into(),
        };
        nets.insert(&Key::new(prefix, addr.into()), value, 0)?;
        Ok(())
    }

    fn set_bit(&mut self, filter: &str, (word, mask): (usize, u32)) -> Result<()> {
        let mut map = self.array::<AddrFilter>(filter)?;
        let mut value = map.get(&0, 0).unwrap_or(AddrFilter {
            words: [0; FILTER_WORDS],
        });
        value.words[word] |= mask;
        map.set(0, value, 0)?;
        Ok(())
    }

    /// How often a reason was counted, on all CPUs.
    pub fn counter(&mut self, reason: Reason) -> Result<u64> {
        let map = self.ebpf.map_mut("COUNTERS").context("no COUNTERS")?;
        let counters = PerCpuArray::<_, u64>::try_from(map)?;
        Ok(counters.get(&(reason as u32), 0)?.iter().sum())
    }

    fn counters(&mut self) -> Result<Vec<u64>> {
        Reason::ALL
            .iter()
            .map(|&reason| self.counter(reason))
            .collect()
    }

    #[must_use]
    pub fn has(&self, program: &str) -> bool {
        self.ebpf.program(program).is_some()
    }

    /// One packet through `lb_ingress`.
    ///
    /// # Panics
    /// When the kernel does not take the packet: that is the test's mistake.
    pub fn ingress(&mut self, frame: &[u8]) -> Ran {
        self.run("lb_ingress", frame).expect("the packet is taken")
    }

    /// One packet through `lb_egress`.
    ///
    /// # Panics
    /// As [`Self::ingress`].
    pub fn egress(&mut self, frame: &[u8]) -> Ran {
        self.run("lb_egress", frame).expect("the packet is taken")
    }

    /// One packet through a program.
    pub fn run(&mut self, program: &str, frame: &[u8]) -> Result<Ran> {
        let before = self.counters()?;
        let mut out = vec![0; frame.len() + GROWN];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let program = self.ebpf.program_mut(program);
        let program =
            program.with_context(|| format!("no such program in {}", path().display()))?;
        let result = match program {
            aya::programs::Program::Xdp(program) => Xdp::test_run(program, options),
            aya::programs::Program::SchedClassifier(program) => {
                SchedClassifier::test_run(program, options)
            }
            _ => bail!("neither XDP nor TC"),
        }?;
        out.truncate(usize::try_from(result.data_size_out)?);
        let after = self.counters()?;
        let moved = |(&reason, (before, after)): (&Reason, (&u64, &u64))| {
            let times = usize::try_from(after - before).unwrap_or(usize::MAX);
            std::iter::repeat_n(reason, times.min(9))
        };
        Ok(Ran {
            action: result.return_value,
            frame: out,
            counted: Reason::ALL
                .iter()
                .zip(before.iter().zip(&after))
                .flat_map(moved)
                .collect(),
        })
    }
}

fn config(mac: [u8; 6], sizes: &Sizes) -> Config {
    let mut uplinks = [Uplink::default(); UPLINKS_MAX];
    uplinks[0] = Uplink {
        mac: MacEntry { mac, node: 0 },
        ifindex: UPLINK,
        pad: 0,
    };
    Config {
        uplinks,
        node_v4: Addr::UNSPECIFIED,
        node_v6: Addr::UNSPECIFIED,
        client_seed: 0x0123_4567_89ab_cdef,
        hz: 250,
        tunnel_port: DEFAULT_PORT.into(),
        mss_v4: 0,
        mss_v6: 0,
        filter_half: 0,
        rates: [AMPLE; 4],
        flags: 0,
        embryo_sets: sizes.embryo_sets,
        filter_words: sizes.filter_words,
        zero: 0,
        frontend_buckets: buckets_for(sizes.frontends),
        fresh_until_s: 0,
        pad: 0,
    }
}

/// A node on the uplink's own link.
#[must_use]
pub fn same_link(dst_mac: [u8; 6], src_mac: [u8; 6]) -> NodeValue {
    NodeValue {
        dst_mac,
        src_mac,
        ifindex: UPLINK,
        kind: kind::SAME_LINK,
        mtu: 1500,
        outer_dst: Addr::UNSPECIFIED,
        outer_src: Addr::UNSPECIFIED,
    }
}

/// A node behind a router of this MAC.
#[must_use]
pub fn routed(router: [u8; 6], src_mac: [u8; 6], from: IpAddr, to: IpAddr) -> NodeValue {
    NodeValue {
        kind: kind::ROUTED,
        outer_dst: to.into(),
        outer_src: from.into(),
        ..same_link(router, src_mac)
    }
}
