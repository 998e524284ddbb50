//! Answers as tables for people and as JSON for programs.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// A table for people, or JSON for programs (its keys stay as they are)
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

impl Output {
    pub(super) fn is_json(self) -> bool {
        self.output == Format::Json
    }
}

impl Output {
    /// The answer of a command that has one: as JSON, or by `print`.
    pub(super) fn answer<T: Serialize>(
        self,
        answer: &T,
        print: impl FnOnce(&T),
    ) -> anyhow::Result<ExitCode> {
        if self.is_json() {
            json(answer)?;
        } else {
            print(answer);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a line; if nobody reads on (`| head`), that is all.
pub(super) fn line(text: std::fmt::Arguments<'_>) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// As `println!`, but for [`line`].
macro_rules! say {
    () => { crate::cli::output::line(format_args!("")) };
    ($($text:tt)+) => { crate::cli::output::line(format_args!($($text)+)) };
}
pub(super) use say;

pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(format_args!("{}", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// A table without lines, as other command line programs print them.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub(super) fn print(table: &Table) {
    line(format_args!("{}", table.trim_fmt()));
}

/// 1234567 as 1.2M: what fits a column.
pub(super) fn short(number: u64) -> String {
    let mut unit = 1_u64;
    for name in ["", "k", "M", "G", "T", "P"] {
        if number < unit.saturating_mul(1000) {
            if unit == 1 {
                return number.to_string();
            }
            let tenths = number / (unit / 10);
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
        unit = unit.saturating_mul(1000);
    }
    number.to_string()
}

/// 1048576 as 1.0 MiB.
pub(super) fn bytes(number: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB"] {
        if number < unit * 1024 || name == "GiB" {
            if unit == 1 {
                return format!("{number} B");
            }
            let tenths = number.saturating_mul(10) / unit;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1024;
    }
    number.to_string()
}

/// Seconds as 3m12s.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(999), "999");
        assert_eq!(short(1000), "1.0k");
        assert_eq!(short(1_234_567), "1.2M");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
        assert_eq!(duration(59), "59s");
        assert_eq!(duration(3723), "1h02m");
    }
}
