//! `lb-agent check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lb_core::check::check;
use lb_core::problem::Severity;
use serde::Serialize;

use super::Class;
use super::output::{self, Output, say};
use crate::report::ProblemRow;
use crate::source::file::{self, FileMistake};

/// Look for mistakes in manifests, without touching anything
///
/// Reads manifests as the agent would, and says what is wrong with them. Needs
/// neither root nor a running agent.
///
/// Exits with 0 if there is no error; warnings and notes do not count.
///
/// JSON: {ok, services, slices, nodes, mistakes: [{path, line, reason}],
/// problems: [{name, severity: error|warning|note, text}], ignored[],
/// unknown_kinds[]}
#[derive(Debug, Args)]
pub(super) struct Check {
    /// A folder of manifests, or one file
    path: PathBuf,
    #[command(flatten)]
    class: Class,
    #[command(flatten)]
    output: Output,
}

#[derive(Default, Serialize)]
struct Answer {
    ok: bool,
    services: usize,
    slices: usize,
    nodes: usize,
    mistakes: Vec<Mistake>,
    problems: Vec<ProblemRow>,
    ignored: Vec<String>,
    unknown_kinds: Vec<String>,
}

#[derive(Serialize)]
struct Mistake {
    path: String,
    line: Option<u64>,
    reason: String,
    #[serde(skip)]
    text: String,
}

impl From<FileMistake> for Mistake {
    fn from(mistake: FileMistake) -> Self {
        Self {
            text: mistake.to_string(),
            path: mistake.path.display().to_string(),
            line: mistake.line,
            reason: mistake.reason,
        }
    }
}

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let answer = self.answer();
        if self.output.is_json() {
            output::json(&answer)?;
        } else {
            print(&answer);
        }
        Ok(if answer.ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn answer(&self) -> Answer {
        let manifests = match file::load(&self.path, &self.class.clone().ours()) {
            Ok(manifests) => manifests,
            Err(mistakes) => {
                return Answer {
                    mistakes: mistakes.into_iter().map(Mistake::from).collect(),
                    ..Answer::default()
                };
            }
        };
        let problems = check(&manifests.facts);
        let is_error = |severity| severity == Severity::Error;
        Answer {
            ok: !problems.iter().any(|problem| is_error(problem.severity())),
            services: manifests.facts.services.len(),
            slices: manifests.facts.slices.values().map(|s| s.len()).sum(),
            nodes: manifests.facts.nodes.len(),
            mistakes: Vec::new(),
            problems: problems
                .iter()
                .map(|problem| ProblemRow {
                    name: problem.name().to_owned(),
                    severity: problem.severity().to_string(),
                    text: problem.to_string(),
                })
                .collect(),
            ignored: manifests.ignored.iter().map(ToString::to_string).collect(),
            unknown_kinds: manifests.unknown_kinds.into_iter().collect(),
        }
    }
}

fn print(answer: &Answer) {
    for mistake in &answer.mistakes {
        say!("error: {}", mistake.text);
    }
    for problem in &answer.problems {
        say!("{} ({}): {}", problem.severity, problem.name, problem.text);
    }
    for ignored in &answer.ignored {
        say!("left out: {ignored}");
    }
    for kind in &answer.unknown_kinds {
        say!("left out: objects of kind {kind}");
    }
    if answer.mistakes.is_empty() {
        say!(
            "{} services, {} EndpointSlices, {} nodes: {}",
            answer.services,
            answer.slices,
            answer.nodes,
            if answer.ok { "good" } else { "not good" }
        );
    }
}
