//! `lb-agent maps`.

use std::process::ExitCode;

use clap::Args;
use lb_common::maps::{Kind, MAPS};
use serde::Serialize;

use super::Place;
use super::output::{self, Output, say};
use crate::dataplane::load::memory;
use crate::dataplane::maps::{Maps as Open, raw};
use crate::dataplane::readback::count;
use crate::dataplane::view::percent;

/// Show the kernel's tables: how full they are, how much memory they take
///
/// The tables in the kernel. `bpftool map dump pinned PATH` shows what is in
/// one, with named fields.
///
/// JSON: {total_bytes, maps: [{name, kind, key, value, key_size, value_size,
/// used, max_entries, bytes, path, writer, reader, about}]}. Used: null for
/// arrays, which always have all entries.
#[derive(Debug, Args)]
pub(super) struct Maps {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Answer {
    total_bytes: u64,
    maps: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    kind: String,
    key: &'static str,
    value: &'static str,
    key_size: usize,
    value_size: usize,
    used: Option<usize>,
    max_entries: u32,
    bytes: u64,
    path: String,
    writer: &'static str,
    reader: &'static str,
    about: &'static str,
}

impl Maps {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let pins = self.place.pins()?;
        Open::open(&pins)?;
        let mut rows = Vec::new();
        for map in MAPS {
            let data = raw(&pins, map.name)?;
            let used = match map.kind {
                Kind::Array | Kind::PerCpuArray => None,
                Kind::Hash | Kind::HashOnDemand | Kind::LruHash | Kind::LpmTrie => {
                    Some(count(&pins, map)?)
                }
            };
            rows.push(Row {
                name: map.name,
                kind: kind(map.kind).to_owned(),
                key: map.key,
                value: map.value,
                key_size: map.key_size,
                value_size: map.value_size,
                used,
                max_entries: data.info()?.max_entries(),
                bytes: memory(&data).unwrap_or(0),
                path: pins.map(map.name).display().to_string(),
                writer: map.writer,
                reader: map.reader,
                about: map.about,
            });
        }
        let answer = Answer {
            total_bytes: rows.iter().map(|row| row.bytes).sum(),
            maps: rows,
        };
        if self.output.is_json() {
            output::json(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = output::table(&["MAP", "KIND", "USED", "OF", "FULL", "MEMORY", "ABOUT"]);
        for row in &answer.maps {
            let used = row
                .used
                .map_or_else(|| "-".to_owned(), |used| used.to_string());
            let full = row.used.map_or_else(
                || "-".to_owned(),
                |used| percent(u64::try_from(used).unwrap_or(0), row.max_entries.into()),
            );
            table.add_row([
                row.name,
                &row.kind,
                &used,
                &row.max_entries.to_string(),
                &full,
                &output::bytes(row.bytes),
                row.about,
            ]);
        }
        output::print(&table);
        say!("in all {}", output::bytes(answer.total_bytes));
        Ok(ExitCode::SUCCESS)
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Array => "array",
        Kind::PerCpuArray => "per-CPU array",
        Kind::Hash => "hash",
        Kind::HashOnDemand => "hash, on demand",
        Kind::LruHash => "LRU hash",
        Kind::LpmTrie => "LPM trie",
    }
}
