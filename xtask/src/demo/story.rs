//! What the demo says: words as it goes, or one document at the end.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::report::say;

pub(super) struct Story {
    aloud: bool,
    document: Map<String, Value>,
    promises: u32,
    broken: Vec<String>,
}

impl Story {
    /// Aloud: in words, as things happen.
    pub(super) fn new(aloud: bool) -> Self {
        Self {
            aloud,
            document: Map::new(),
            promises: 0,
            broken: Vec::new(),
        }
    }

    pub(super) fn chapter(&self, title: &str) {
        if self.aloud {
            say!("\n## {title}\n");
        }
    }

    pub(super) fn say(&self, line: &str) {
        if self.aloud {
            say!("   {line}");
        }
    }

    /// For the document only.
    pub(super) fn note(&mut self, key: &str, value: Value) {
        self.document.insert(key.to_owned(), value);
    }

    /// Says whether something is as promised, and remembers if it is not.
    pub(super) fn promise(&mut self, holds: bool, what: &str) {
        self.promises += 1;
        if holds {
            self.say(&format!("ok: {what}"));
        } else {
            self.say(&format!("NOT AS PROMISED: {what}"));
            self.broken.push(what.to_owned());
        }
    }

    /// The last words, or the document.
    pub(super) fn end(mut self) -> Result<ExitCode> {
        let kept = self.broken.is_empty();
        self.chapter("In the end");
        if kept {
            self.say(&format!("All {} promises were kept.", self.promises));
        } else {
            self.say(&format!(
                "{} of {} promises were NOT kept:",
                self.broken.len(),
                self.promises
            ));
            for what in &self.broken {
                self.say(&format!("- {what}"));
            }
        }
        if !self.aloud {
            let broken = std::mem::take(&mut self.broken);
            self.note("promises", json!(self.promises));
            self.note("not_as_promised", json!(broken));
            self.note("ok", json!(kept));
            let text = serde_json::to_string_pretty(&self.document).context("it is plain data")?;
            say!("{text}");
        }
        Ok(if kept {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
