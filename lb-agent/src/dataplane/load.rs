//! Loading the programs, with maps that outlive this process.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::PathBuf;

use aya::maps::{MapData, MapError, MapInfo, MapType};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use aya_obj::generated::bpf_map_type;
use lb_common::LAYOUT_VERSION;
use lb_common::maps::{Kind, MAPS, Map};

use super::pins::Pins;
use super::sizes::MapSizes;

mod objects {
    include!(concat!(env!("OUT_DIR"), "/objects.rs"));
}

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;

/// Which of the two objects to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Plain,
    /// The one that also logs packets.
    Logging,
    /// One that is not built in, for those who work on it.
    File(PathBuf),
}

impl Object {
    fn bytes(&self) -> Result<Cow<'static, [u8]>, LoadError> {
        match self {
            Self::Plain => Ok(objects::LB.into()),
            Self::Logging => Ok(objects::LB_LOG.into()),
            Self::File(path) => {
                let bytes = fs::read(path).map_err(|source| LoadError::File {
                    path: path.clone(),
                    source,
                })?;
                Ok(bytes.into())
            }
        }
    }
}

/// Why the programs were not loaded. What was attached before still is, and
/// pinned maps are as they were.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("this agent was built without a data plane: build it with `cargo xtask build`")]
    NotBuilt,
    #[error("cannot read the object {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the map {map} in {bpffs} has room for {there} entries, not for {wanted}: start the agent \
         with {option} {there}, or remove all maps and flows with `lb-agent purge`"
    )]
    Size {
        map: &'static str,
        bpffs: PathBuf,
        there: u32,
        wanted: u32,
        option: &'static str,
    },
    #[error(
        "the map {map} in {bpffs} is of another layout than version {LAYOUT_VERSION} of this \
         agent ({there} instead of {wanted}): remove all maps and flows with `lb-agent purge`"
    )]
    Layout {
        map: &'static str,
        bpffs: PathBuf,
        there: String,
        wanted: String,
    },
    #[error("cannot make the folders for pins in {bpffs}")]
    Folders {
        bpffs: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make the map {map}")]
    Create {
        map: &'static str,
        #[source]
        source: MapError,
    },
    #[error("cannot pin the map {map}")]
    Pin {
        map: &'static str,
        #[source]
        source: aya::pin::PinError,
    },
    #[error("cannot look at the map {map}")]
    Inspect {
        map: &'static str,
        #[source]
        source: MapError,
    },
    #[error("cannot load the data plane")]
    Object(#[source] EbpfError),
    #[error("the kernel does not take the program {program}")]
    Program {
        program: String,
        #[source]
        source: ProgramError,
    },
}

/// Loads the programs. Maps that are pinned are used again, others are made
/// and pinned.
pub fn load(object: &Object, pins: &Pins, sizes: &MapSizes) -> Result<Ebpf, LoadError> {
    let bytes = object.bytes()?;
    if bytes.is_empty() {
        return Err(LoadError::NotBuilt);
    }
    pins.create_folders().map_err(|source| LoadError::Folders {
        bpffs: pins.bpffs().to_owned(),
        source,
    })?;
    // aya uses a pinned map again whatever it looks like.
    for map in MAPS {
        inspect(map, pins, sizes)?;
    }
    let mut loader = EbpfLoader::new();
    // Why a program is refused, without the way to it: that is very long.
    if !tracing::enabled!(tracing::Level::TRACE) {
        loader.verifier_log_level(VerifierLogLevel::STATS);
    }
    for map in MAPS {
        loader
            .map_pin_path(map.name, pins.map(map.name))
            .map_max_entries(map.name, sizes.of(map).0);
    }
    let mut ebpf = loader.load(&bytes).map_err(LoadError::Object)?;
    for map in MAPS {
        if !pins.map(map.name).exists() {
            tracing::debug!(map = map.name, "no program refers to this map");
            create(map, pins, sizes)?;
        }
        inspect(map, pins, sizes)?;
    }
    for (name, program) in ebpf.programs_mut() {
        let loaded = match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => continue,
        };
        loaded.map_err(|source| LoadError::Program {
            program: name.to_owned(),
            source,
        })?;
    }
    Ok(ebpf)
}

/// Whether a pinned map is as this agent would make it.
fn inspect(map: &Map, pins: &Pins, sizes: &MapSizes) -> Result<(), LoadError> {
    let path = pins.map(map.name);
    if !path.exists() {
        return Ok(());
    }
    let inspect = |source| LoadError::Inspect {
        map: map.name,
        source,
    };
    let info = MapInfo::from_pin(&path).map_err(inspect)?;
    let there = (
        info.map_type().map_err(inspect)?,
        info.key_size(),
        info.value_size(),
    );
    let wanted = (kind(map.kind), size(map.key_size), size(map.value_size));
    let bpffs = pins.bpffs().to_owned();
    if there != wanted {
        let text = |(kind, key, value)| format!("{kind:?} of {key} to {value} bytes");
        return Err(LoadError::Layout {
            map: map.name,
            bpffs,
            there: text(there),
            wanted: text(wanted),
        });
    }
    let (entries, option) = sizes.of(map);
    if info.max_entries() == entries {
        return Ok(());
    }
    Err(match option {
        Some(option) => LoadError::Size {
            map: map.name,
            bpffs,
            there: if map.name == "CLIENT_FILTER" {
                info.max_entries() * 16
            } else {
                info.max_entries()
            },
            wanted: entries,
            option,
        },
        None => LoadError::Layout {
            map: map.name,
            bpffs,
            there: format!("{} entries", info.max_entries()),
            wanted: format!("{entries} entries"),
        },
    })
}

/// Makes all maps without any program, and pins them: for those who only
/// look at maps.
pub fn create_maps(pins: &Pins, sizes: &MapSizes) -> Result<(), LoadError> {
    pins.create_folders().map_err(|source| LoadError::Folders {
        bpffs: pins.bpffs().to_owned(),
        source,
    })?;
    MAPS.iter().try_for_each(|map| create(map, pins, sizes))
}

/// Makes a map that the object leaves out since no program refers to it.
fn create(map: &'static Map, pins: &Pins, sizes: &MapSizes) -> Result<(), LoadError> {
    let flags = match map.kind {
        Kind::HashOnDemand | Kind::LpmTrie => NO_PREALLOC,
        Kind::Array | Kind::PerCpuArray | Kind::Hash | Kind::LruHash => 0,
    };
    let object = aya_obj::Map::new_from_params(
        raw_kind(map.kind),
        size(map.key_size),
        size(map.value_size),
        sizes.of(map).0,
        flags,
    );
    let data = MapData::create(object, map.name, None).map_err(|source| LoadError::Create {
        map: map.name,
        source,
    })?;
    data.pin(pins.map(map.name))
        .map_err(|source| LoadError::Pin {
            map: map.name,
            source,
        })
}

/// The kernel's own record of a map says how much memory it takes.
#[must_use]
pub fn memory(map: &MapData) -> Option<u64> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let fd = map.fd().as_fd().as_raw_fd();
    let record = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let mut lines = record.lines();
    let bytes = lines.find_map(|line| line.strip_prefix("memlock:"))?;
    bytes.trim().parse().ok()
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn kind(kind: Kind) -> MapType {
    match kind {
        Kind::Array => MapType::Array,
        Kind::PerCpuArray => MapType::PerCpuArray,
        Kind::Hash | Kind::HashOnDemand => MapType::Hash,
        Kind::LruHash => MapType::LruHash,
        Kind::LpmTrie => MapType::LpmTrie,
    }
}

fn raw_kind(kind: Kind) -> u32 {
    let kind = match kind {
        Kind::Array => bpf_map_type::BPF_MAP_TYPE_ARRAY,
        Kind::PerCpuArray => bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
        Kind::Hash | Kind::HashOnDemand => bpf_map_type::BPF_MAP_TYPE_HASH,
        Kind::LruHash => bpf_map_type::BPF_MAP_TYPE_LRU_HASH,
        Kind::LpmTrie => bpf_map_type::BPF_MAP_TYPE_LPM_TRIE,
    };
    kind as u32
}
