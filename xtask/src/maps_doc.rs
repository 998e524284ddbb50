//! `cargo xtask maps-doc`: `lb-common/MAPS.md`, from the list of the maps.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lb_common::LAYOUT_VERSION;
use lb_common::maps::{Kind, MAPS, Map, PIN_ROOT};

use crate::report::say;
use crate::workspace::root;

/// Where the document is, from the root.
const DOCUMENT: &str = "lb-common/MAPS.md";

#[derive(Debug, Args)]
pub(crate) struct MapsDoc {
    /// Write nothing; fail if the document is not what it would be
    #[arg(long)]
    check: bool,
}

impl MapsDoc {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let path = root().join(DOCUMENT);
        let text = document()?;
        if self.check {
            let there = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(
                there == text,
                "{DOCUMENT} is stale: run `cargo xtask maps-doc`"
            );
            say!("{DOCUMENT} is as it should be");
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            say!("wrote {}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn document() -> Result<String> {
    let mut text = introduction();
    text.push_str("\n## All maps\n\n");
    text.push_str("| map | kind | key | value | entries | data |\n");
    text.push_str("|---|---|---|---|---:|---:|\n");
    for map in MAPS {
        writeln!(
            text,
            "| [{name}](#{anchor}) | {kind} | {key}, {key_size} B | {value}, {value_size} B | {entries} | {data} |",
            name = map.name,
            anchor = map.name.to_lowercase(),
            kind = kind(map.kind),
            key = map.key,
            key_size = map.key_size,
            value = map.value,
            value_size = map.value_size,
            entries = map.max_entries,
            data = data(map)?,
        )?;
    }
    text.push_str("\n## What each is for\n\nIn the order of their first use by a packet.\n");
    for map in MAPS {
        let about = sentence(map.about);
        let Map {
            name,
            writer,
            reader,
            ..
        } = map;
        write!(
            text,
            "\n### {name}\n\n{about}\n\n- written by: {writer}\n- read by: {reader}\n"
        )?;
    }
    Ok(text)
}

fn introduction() -> String {
    let example = format!("{PIN_ROOT}/v{LAYOUT_VERSION}/FRONTENDS");
    format!(
        "\
# Maps

<!-- Made by `cargo xtask maps-doc` from lb-common/src/maps.rs. Do not edit. -->

The tables in the kernel: the whole of what the programs know, and the whole
interface between them and the agent. All are BTF maps, so

    bpftool map dump pinned {example}

prints their fields by name. `lb-agent maps` shows how full they are and how
much memory the kernel takes for them.

**Pins.** Maps are pinned at `<bpffs>/v<layout>/<NAME>`; the first part is
`{PIN_ROOT}` unless `--bpffs` says otherwise. They outlive the agent:
a new one reads them back and writes the difference.

**Layout.** This is layout {LAYOUT_VERSION}. Any change of a key, a value or their meaning
raises it, and an agent never reads maps of another layout.

**Byte order.** Numbers (ports, ids, times) are in host order, so that port 80
is shown as 80. Addresses and MACs are bytes in the order in which they travel.
Every address has 16 bytes; an IPv4 address is the IPv6 address
`::ffff:a.b.c.d`.

**Types.** Keys and values are the Rust types of these names in `lb-common/src`,
where each field is explained. They have no implicit padding: it does not
compile otherwise.

**Sizes.** Entries are the defaults; the options of `lb-agent run` change the
large ones, and hold from when the maps are made. Data is entries times value,
and key where the kind stores one; the kernel's own bookkeeping comes on top
(about 50 to 70 bytes an entry of a hash), and per-CPU maps have it once for
every CPU. Maps on demand take memory for what is in them only.
"
    )
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Array => "array",
        Kind::PerCpuArray => "per-CPU array",
        Kind::Hash => "hash",
        Kind::HashOnDemand => "hash, on demand",
        Kind::LruHash => "LRU hash",
        Kind::LpmTrie => "LPM trie, on demand",
    }
}

/// How many bytes of keys and values a full map has.
fn data(map: &Map) -> Result<String> {
    let entry = match map.kind {
        Kind::Array | Kind::PerCpuArray => map.value_size,
        Kind::Hash | Kind::HashOnDemand | Kind::LruHash | Kind::LpmTrie => {
            map.key_size + map.value_size
        }
    };
    let total = entry * usize::try_from(map.max_entries)?;
    Ok(bytes(total))
}

/// 1048576 as 1.0 MiB.
fn bytes(number: usize) -> String {
    if number < 1024 {
        return format!("{number} B");
    }
    let (unit, name) = if number < 1 << 20 {
        (1 << 10, "KiB")
    } else {
        (1 << 20, "MiB")
    };
    let tenths = number * 10 / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase());
    let first = first.into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_has_a_row_and_a_section() {
        let text = document().unwrap();
        for map in MAPS {
            assert!(text.contains(&format!("\n| [{}](#", map.name)));
            assert!(text.contains(&format!("\n### {}\n", map.name)));
        }
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(40), "40 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(40 << 20), "40.0 MiB");
    }
}
