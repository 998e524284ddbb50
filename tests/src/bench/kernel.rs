//! The bench's own programs in the kernel, and one measurement.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, ProgramArray};
use aya::programs::{
    Program, ProgramFd, SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions, Xdp,
};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::flow::FlowKey;

/// Bytes of every frame.
pub(super) const LEN: usize = 128;

/// Measurements, of which the least counts.
pub(super) const RUNS: u32 = 8;

/// Packets before the clock runs.
pub(super) const WARM_UP: u32 = 1000;

/// A frame, how its flows vary, and what it goes through.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) frame: Vec<u8>,
    /// Powers of two.
    pub(super) flows: u32,
    pub(super) vips: u32,
    /// As the template in `tests/bpf` says.
    pub(super) layout: u32,
}

/// `target/bpf/bench.o`, loaded.
#[derive(Debug)]
pub(super) struct Kernel {
    ebpf: Ebpf,
}

/// XDP, or TC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Xdp,
    Tc,
}

impl Kernel {
    /// With a yardstick for this many flows.
    pub(super) fn load(flows: u32) -> Result<Self> {
        let path = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/bpf/bench.o"
        ));
        let bytes = std::fs::read(&path)
            .with_context(|| format!("no {}: `cargo xtask bench` builds it", path.display()))?;
        // An LRU map evicts before it is full: twice the room.
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("YARDSTICK", (2 * flows).max(1024))
            .load(&bytes)?;
        for (name, program) in ebpf.programs_mut() {
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => continue,
            }
            .with_context(|| format!("the kernel does not take {name}"))?;
        }
        Ok(Self { ebpf })
    }

    fn array<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map = self.ebpf.map_mut(name);
        Ok(Array::try_from(map.with_context(|| format!("no {name}"))?)?)
    }

    /// Adds flows to the yardstick's map.
    pub(super) fn fill_yardstick(&mut self, keys: impl Iterator<Item = FlowKey>) -> Result<()> {
        let map = self.ebpf.map_mut("YARDSTICK").context("no YARDSTICK")?;
        let mut map = HashMap::<_, FlowKey, u64>::try_from(map)?;
        for key in keys {
            map.insert(key, 1, 0)?;
        }
        Ok(())
    }

    pub(super) fn misses(&mut self) -> Result<u32> {
        Ok(self.array("MISSES")?.get(&0, 0)?)
    }

    /// The programs and maps themselves.
    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Packets that came to the end of their way so far.
    pub(super) fn arrived(&mut self) -> Result<u64> {
        let map = self.ebpf.map_mut("ARRIVED").context("no ARRIVED")?;
        let counts = PerCpuArray::<_, u64>::try_from(map)?;
        Ok(counts.get(&0, 0)?.iter().sum())
    }

    /// Sends `count` packets by a device of the caller's namespace, and gives
    /// the nanoseconds that each took, with all that was done about it at once.
    pub(super) fn send(&mut self, load: &Load, ifindex: u32, count: u32) -> Result<f64> {
        /// Packets that go together, as a driver hands them on.
        const BATCH: u32 = 64;
        self.prepare(load)?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, and two
        // that are not used here.
        let length = u32::try_from(LEN)?;
        let context = [0, length, 0, ifindex, 0, 0].map(u32::to_ne_bytes);
        let options = TestRunOptions {
            data_in: Some(&load.frame),
            ctx_in: Some(context.as_flattened()),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let program = self.ebpf.program_mut("bench_send");
        let program: &mut Xdp = program.context("no bench_send")?.try_into()?;
        let result = Xdp::test_run(program, options)?;
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    /// One of the bench's own programs.
    pub(super) fn program(&self, name: &str) -> Result<ProgramFd> {
        let program = self.ebpf.program(name);
        let program = program.with_context(|| format!("no program {name}"))?;
        Ok(program.fd()?.try_clone()?)
    }

    /// Nanoseconds a packet through `program`, restoring it included.
    pub(super) fn time(
        &mut self,
        load: &Load,
        hook: Hook,
        program: &ProgramFd,
        repeat: u32,
    ) -> Result<f64> {
        self.prepare(load)?;
        let (map, name) = match hook {
            Hook::Xdp => ("XDP_PROGRAM", "bench_restore"),
            Hook::Tc => ("TC_PROGRAM", "bench_restore_tc"),
        };
        let map = self.ebpf.map_mut(map).context("no program array")?;
        ProgramArray::try_from(map)?.set(0, program, 0)?;
        // What is cold the first time: code, the heads of tables.
        self.run(name, load, WARM_UP)?;
        // Whatever else happens on the machine only ever adds.
        let mut least = f64::INFINITY;
        for _ in 0..RUNS {
            least = least.min(self.run(name, load, repeat)?);
        }
        Ok(least)
    }

    fn run(&mut self, name: &str, load: &Load, repeat: u32) -> Result<f64> {
        let options = TestRunOptions {
            data_in: Some(&load.frame),
            repeat,
            ..TestRunOptions::default()
        };
        let program = self.ebpf.program_mut(name).context("no such program")?;
        let result = match program {
            Program::Xdp(program) => Xdp::test_run(program, options),
            Program::SchedClassifier(program) => SchedClassifier::test_run(program, options),
            _ => unreachable!("the bench has no others"),
        }?;
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    fn prepare(&mut self, load: &Load) -> Result<()> {
        ensure!(load.frame.len() == LEN, "a frame has {LEN} bytes");
        let mut template = [0_u64; LEN / 8 + 2];
        for (word, bytes) in template.iter_mut().zip(load.frame.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        template[LEN / 8] = u64::from(load.flows - 1) | u64::from(load.vips - 1) << 32;
        template[LEN / 8 + 1] = load.layout.into();
        self.array::<[u64; LEN / 8 + 2]>("TEMPLATE")?
            .set(0, template, 0)?;
        self.array::<u32>("SENT")?.set(0, 0_u32, 0)?;
        Ok(())
    }
}
