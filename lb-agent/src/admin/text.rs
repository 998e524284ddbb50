//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write as _};

/// Metrics as text, one family after the other.
#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
    name: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Text {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        self.name = name;
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        let mut pairs = String::new();
        for (label, value) in labels {
            let comma = if pairs.is_empty() { "" } else { "," };
            let value = escaped(&value.to_string());
            // Writing to a String does not fail.
            let _written = write!(pairs, "{comma}{label}=\"{value}\"");
        }
        let name = self.name;
        if pairs.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{pairs}}} {value}"));
        }
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// The same with names that begin differently.
    pub(super) fn renamed(self, from: &str, to: &str) -> String {
        let rename = |line: &str| {
            let places = ["# HELP ", "# TYPE ", ""];
            let place = places.into_iter().find(|place| line.starts_with(place));
            let (place, rest) = line.split_at(place.map_or(0, str::len));
            let rest = rest.strip_prefix(from).map(|rest| format!("{to}{rest}"));
            match rest {
                Some(rest) => format!("{place}{rest}\n"),
                None => format!("{line}\n"),
            }
        };
        self.text.lines().map(rename).collect()
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _written = writeln!(self.text, "{line}");
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_their_family_and_labels_are_escaped() {
        let mut text = Text::default();
        text.family("corten_ready", Kind::Gauge, "Whether it is.");
        text.sample(&[], 1);
        text.family("corten_packets_total", Kind::Counter, "Packets.");
        text.sample(&[("reason", &"a\"b\\c\nd"), ("port", &80)], 7);
        assert_eq!(
            text.into_string(),
            "# HELP corten_ready Whether it is.\n# TYPE corten_ready gauge\ncorten_ready 1\n\
             # HELP corten_packets_total Packets.\n# TYPE corten_packets_total counter\n\
             corten_packets_total{reason=\"a\\\"b\\\\c\\nd\",port=\"80\"} 7\n"
        );
    }
    #[test]
    fn names_may_begin_differently_and_labels_stay() {
        let mut text = Text::default();
        text.family("corten_ready", Kind::Gauge, "Whether corten_ is.");
        text.sample(&[("peer", &"corten_x")], 1);
        assert_eq!(
            text.renamed("corten_", "metallb_"),
            "# HELP metallb_ready Whether corten_ is.\n# TYPE metallb_ready gauge\n\
             metallb_ready{peer=\"corten_x\"} 1\n"
        );
    }
}
