//! Maps of the running kernel: what is written is read back, and what is over
//! is swept. Needs root; `LB_TEST_SKIP=kernel` leaves it out.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod fixtures;

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lb_agent::dataplane::apply::{self, Kernel, Target as _};
use lb_agent::dataplane::jiffies::Jiffies;
use lb_agent::dataplane::load::create_maps;
use lb_agent::dataplane::maps::Maps;
use lb_agent::dataplane::pins::Pins;
use lb_agent::dataplane::readback;
use lb_agent::dataplane::sizes::MapSizes;
use lb_agent::dataplane::sweep::{Sweeper, Timeouts};
use lb_common::addr::Addr;
use lb_common::filter::{client_bit, vip_hash};
use lb_common::flow::{FlowKey, FlowValue, ReverseKey, ReverseValue, TCP, state};
use lb_common::frontend::{FrontendKey, FrontendValue, bucket_and_tag, id_and_side};
use lb_common::hash::source_hash;
use lb_core::dataplane::{Image, Ledger, Settle, diff, plan};
use lb_core::desired::{Memo, desired};
use lb_core::model::Inputs;
use lb_core::time::Timestamp;

const HZ: u32 = 250;

/// A bpffs of its own, and small maps in it.
struct Scratch {
    folder: PathBuf,
    pins: Pins,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("corten-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "bpf", "bpf"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "a bpffs can be mounted");
        let pins = Pins::new(&folder);
        create_maps(&pins, &sizes()).unwrap();
        Self { folder, pins }
    }

    fn kernel(&self) -> Kernel {
        Kernel::open(&self.pins).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the temporary folder.
        let _unmounted = Command::new("umount").arg(&self.folder).status();
        let _removed = fs::remove_dir(&self.folder);
    }
}

fn sizes() -> MapSizes {
    MapSizes {
        max_table_chunks: 64,
        max_tcp_flows: 4096,
        max_udp_flows: 4096,
        ..MapSizes::default()
    }
}

/// False if tests of the kernel are to be skipped, which is noted.
fn wanted() -> bool {
    let skips = std::env::var("LB_TEST_SKIP").unwrap_or_default();
    if skips.split(',').any(|skip| skip.trim() == "kernel") {
        if let Some(path) = std::env::var_os("LB_TEST_SKIP_LOG") {
            let log = fs::OpenOptions::new().create(true).append(true).open(path);
            log.unwrap().write_all(b"kernel lb-agent\n").unwrap();
        }
        return false;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    assert!(
        root,
        "this test needs root (BPF); LB_TEST_SKIP=kernel skips its kind"
    );
    true
}

/// A service with pods on two nodes, of which this is the first.
fn inputs(pods: &[u8]) -> Inputs {
    let mut inputs = fixtures::cluster(2);
    let vips = vec![[203, 0, 113, 80].into(), "2001:db8::80".parse().unwrap()];
    fixtures::add_service(&mut inputs, "web", vips, pods);
    inputs
}

struct Agent {
    kernel: Kernel,
    current: Image,
    memo: Memo,
    ledger: Ledger,
    now: Timestamp,
}

impl Agent {
    fn new(kernel: Kernel) -> Self {
        let now = Timestamp::since_boot(Duration::from_secs(1000));
        Self {
            current: kernel.read().unwrap(),
            kernel,
            memo: Memo::default(),
            ledger: Ledger::new(sizes().for_core(), Settle::default(), now),
            now,
        }
    }

    /// Makes the maps those of these pods; says how many steps it took.
    fn run(&mut self, pods: &[u8]) -> usize {
        self.apply(&inputs(pods))
    }

    fn apply(&mut self, inputs: &Inputs) -> usize {
        let desired = desired(inputs, &mut self.memo);
        let (image, _) = plan(&desired, &self.current, &mut self.ledger, self.now);
        let steps = diff(&self.current, &image);
        apply::run(&mut self.kernel, &steps).unwrap();
        self.current = image;
        steps.len()
    }
}

#[test]
fn what_is_written_is_read_back_and_a_restart_has_nothing_to_do() {
    if !wanted() {
        return;
    }
    let scratch = Scratch::new("apply");
    let mut agent = Agent::new(scratch.kernel());
    assert_eq!(agent.current, Image::default(), "new maps are empty");
    for pods in [&[2, 3, 4][..], &[2, 3, 4, 5], &[3], &[], &[2, 4, 6]] {
        assert!(agent.run(pods) > 0);
        assert_eq!(agent.kernel.read().unwrap(), agent.current);
    }
    let mut next = Agent::new(scratch.kernel());
    assert_eq!(next.run(&[2, 4, 6]), 0);
    assert_eq!(readback::endpoints(&scratch.pins).unwrap().len(), 3);
    let counted = lb_common::maps::MAPS
        .iter()
        .find(|map| map.name == "FRONTENDS");
    assert_eq!(readback::count(&scratch.pins, counted.unwrap()).unwrap(), 2);
}

/// Where packets find a frontend: through the index, and in its entry.
fn indexed(maps: &Maps, key: &FrontendKey) -> Option<FrontendValue> {
    let buckets = maps.frontend_index.len();
    let (bucket, tag) = bucket_and_tag(vip_hash(key.vip), key.port, key.protocol, buckets);
    let place = maps.frontend_index.get(&bucket, 0).unwrap().find(tag);
    let (id, _) = id_and_side(place);
    let entry = maps.frontend_entries.get(&id, 0).ok()?;
    (entry.key == *key).then(|| *entry.value(place))
}

#[test]
fn the_index_leads_to_what_the_hash_map_holds_also_after_a_crash() {
    if !wanted() {
        return;
    }
    let scratch = Scratch::new("index");
    let mut agent = Agent::new(scratch.kernel());
    let mut maps = Maps::open(&scratch.pins).unwrap();
    for pods in [&[2, 3, 4][..], &[2, 3], &[3, 5, 6]] {
        agent.run(pods);
        let all = readback::frontends(&scratch.pins).unwrap();
        assert_eq!(all.len(), 2);
        for (key, value) in &all {
            assert_eq!(indexed(&maps, key), Some(*value), "after {pods:?}");
        }
    }
    // Killed after the hash map was written, and before the index; then before
    // the entry was.
    let (key, old) = readback::frontends(&scratch.pins).unwrap()[0];
    let new = FrontendValue {
        endpoints_hash: 7,
        side: 1 - old.side,
        ..old
    };
    maps.frontends.insert(key, new, 0).unwrap();
    assert_eq!(indexed(&maps, &key), Some(old), "packets see the old value");
    agent.kernel.mend().unwrap();
    assert_eq!(indexed(&maps, &key), Some(new));
    agent.current = agent.kernel.read().unwrap();
    agent.run(&[3, 5, 6]);
    assert_eq!(
        indexed(&maps, &key).unwrap().endpoints_hash,
        old.endpoints_hash
    );
    let mut nothing = inputs(&[]);
    nothing.facts.services.clear();
    agent.apply(&nothing);
    assert_eq!(indexed(&maps, &key), None);
}

/// Enters a TCP flow of a client port, idle for so many seconds, to the pod of
/// this node.
fn enter(scratch: &Scratch, maps: &mut Maps, port: u16, idle_s: u32, state: u16) -> FlowKey {
    let (id, pod) = (0, maps.backends.get(&0, 0).unwrap());
    assert_ne!(pod.generation, 0, "a pod is here");
    let seen = Jiffies::open(&scratch.pins, HZ)
        .now()
        .wrapping_sub(idle_s * HZ);
    let key = FlowKey {
        client: Addr::from(Ipv4Addr::new(192, 0, 2, 200)),
        vip: Addr::from(Ipv4Addr::new(203, 0, 113, 80)),
        client_port: port,
        vip_port: 80,
        protocol: TCP.into(),
    };
    let frontend = 0;
    let value = FlowValue {
        backend: lb_common::backend::BackendRef {
            id,
            generation: pod.generation,
        },
        frontend,
        seen,
        client_fin: 0,
        pod_fin: 0,
        pod_client_port: port,
        state,
        pad: [0; 4],
    };
    let reverse_key = ReverseKey {
        client: key.client,
        pod: pod.addr,
        client_port: port,
        pod_port: pod.port,
        protocol: key.protocol,
    };
    let reverse = ReverseValue {
        vip: key.vip,
        vip_port: 80,
        client_port: port,
        frontend,
        seen,
        flags: 0,
        pad: [0; 2],
    };
    maps.tcp_flows.insert(key, value, 0).unwrap();
    maps.tcp_reverse.insert(reverse_key, reverse, 0).unwrap();
    key
}

fn ports(scratch: &Scratch) -> Vec<u16> {
    let flows = readback::flows(&scratch.pins, "TCP_FLOWS").unwrap();
    let reverse = readback::reverse(&scratch.pins, "TCP_REVERSE").unwrap();
    let mut ports: Vec<u16> = flows.iter().map(|(key, _)| key.client_port).collect();
    let mut answers: Vec<u16> = reverse.iter().map(|(key, _)| key.client_port).collect();
    ports.sort_unstable();
    answers.sort_unstable();
    assert_eq!(ports, answers, "both directions, or none");
    ports
}

#[test]
fn what_is_over_is_swept_and_the_filter_keeps_the_rest() {
    if !wanted() {
        return;
    }
    let scratch = Scratch::new("sweep");
    let mut agent = Agent::new(scratch.kernel());
    agent.run(&[2, 3]);
    let mut config = agent.kernel.config().unwrap();
    config.hz = HZ;
    config.client_seed = 7;
    config.filter_words = sizes().filter_words();
    agent.kernel.put_config(config).unwrap();
    let mut maps = Maps::open(&scratch.pins).unwrap();
    let lives = enter(&scratch, &mut maps, 1, 100, 0);
    enter(&scratch, &mut maps, 2, 20, state::ENDED);
    enter(&scratch, &mut maps, 3, 61, state::ENDED);
    enter(&scratch, &mut maps, 4, 11, state::CLIENT_RESET);
    enter(&scratch, &mut maps, 5, 9 * 3600, 0);
    for port in 1000..3000 {
        enter(&scratch, &mut maps, port, 9 * 3600, 0);
    }
    let mut sweeper = Sweeper::open(&scratch.pins, Timeouts::default()).unwrap();
    let swept = sweeper.sweep().unwrap();
    assert_eq!((swept.tcp, swept.tcp_removed), (2005, 2003));
    assert_eq!(ports(&scratch), [1, 2]);

    let half = sweeper.rebuild_filter().unwrap();
    assert_eq!(half, 1, "the one that is not in use");
    let hash = source_hash(7, lives.client, lives.client_port, TCP);
    let (word, bit) = client_bit(hash, config.filter_words);
    let bits: u64 = maps
        .client_filter
        .get(&(config.filter_words + word), 0)
        .unwrap();
    assert_eq!(bits >> bit & 1, 1);
    let set = readback::entries::<u32, u64>(&scratch.pins, "CLIENT_FILTER").unwrap();
    let set = set.iter().map(|(_, word)| word.count_ones()).sum::<u32>();
    assert!(set <= 2, "nothing but the two that live");

    // The pods leave: what they had goes with them.
    agent.run(&[]);
    assert_eq!(sweeper.sweep().unwrap().tcp_removed, 1);
    assert_eq!(
        ports(&scratch),
        [2],
        "what has ended is kept for a minute all the same"
    );
}
