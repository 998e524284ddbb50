//! `lb-agent check`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use lb_core::check::check;
use lb_core::config::Reason;
use lb_core::problem::{Problem, Severity};
use serde::Serialize;

use super::Class;
use super::output::{self, Output, say};
use crate::report::ProblemRow;
use crate::source::file::{self, FileMistake, FileRefused, Manifests};

/// Look for mistakes in manifests, without touching anything
///
/// Reads manifests as the agent would, and says what is wrong with them:
/// Services, EndpointSlices, Nodes, and the configuration (IPAddressPool and its
/// like, or MetalLB's old ConfigMap). Needs neither root nor a running agent.
///
/// Exits with 0 if there is no error; warnings and notes do not count.
///
/// JSON: {ok, services, slices, nodes, pools, mistakes: [{path, line, reason}],
/// refused: [{path, line, object, field, name, severity: error|warning, reason}],
/// problems: [{name, severity: error|warning|note, text}], ignored[],
/// unknown_kinds[]}
#[derive(Debug, Args)]
pub(super) struct Check {
    /// A folder of manifests, or one file; - for standard input
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
    pools: usize,
    mistakes: Vec<Mistake>,
    refused: Vec<Refused>,
    problems: Vec<ProblemRow>,
    ignored: Vec<String>,
    unknown_kinds: Vec<String>,
}

/// What is wrong with the configuration.
#[derive(Serialize)]
struct Refused {
    path: String,
    line: Option<u64>,
    object: String,
    field: String,
    name: &'static str,
    severity: String,
    reason: String,
}

impl From<FileRefused> for Refused {
    fn from(refused: FileRefused) -> Self {
        let FileRefused {
            path,
            line,
            refused,
        } = refused;
        Self {
            path: path.display().to_string(),
            line,
            object: refused.object.to_string(),
            field: refused.field,
            name: refused.reason.name(),
            severity: severity(&refused.reason).to_string(),
            reason: refused.reason.to_string(),
        }
    }
}

/// Secrets are rightly kept elsewhere than other manifests.
fn severity(reason: &Reason) -> Severity {
    match reason {
        Reason::SecretMissing { .. } => Severity::Warning,
        _ => Severity::Error,
    }
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
        let answer = self.answer()?;
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

    fn load(&self) -> anyhow::Result<Result<Manifests, Vec<FileMistake>>> {
        let ours = self.class.clone().ours();
        if self.path == Path::new("-") {
            let text = io::read_to_string(io::stdin()).context("cannot read standard input")?;
            return Ok(file::read(&self.path, &text, &ours));
        }
        Ok(file::load(&self.path, &ours))
    }

    fn answer(&self) -> anyhow::Result<Answer> {
        let manifests = match self.load()? {
            Ok(manifests) => manifests,
            Err(mistakes) => {
                return Ok(Answer {
                    mistakes: mistakes.into_iter().map(Mistake::from).collect(),
                    ..Answer::default()
                });
            }
        };
        let mut problems = check(&manifests.facts);
        // They are told with their files and lines.
        problems.retain(|problem| !matches!(problem, Problem::ConfigurationRefused { .. }));
        let refused = manifests
            .refused
            .iter()
            .map(|it| severity(&it.refused.reason));
        let mut severities = problems.iter().map(Problem::severity).chain(refused);
        let config = manifests.facts.config.good.as_ref();
        Ok(Answer {
            ok: !severities.any(|severity| severity == Severity::Error),
            services: manifests.facts.services.len(),
            slices: manifests.facts.slices.values().map(|s| s.len()).sum(),
            nodes: manifests.facts.nodes.len(),
            pools: config.map_or(0, |config| config.pools.len()),
            mistakes: Vec::new(),
            refused: manifests.refused.into_iter().map(Refused::from).collect(),
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
        })
    }
}

fn print(answer: &Answer) {
    for mistake in &answer.mistakes {
        say!("error: {}", mistake.text);
    }
    for refused in &answer.refused {
        let Refused {
            path,
            line,
            object,
            field,
            name,
            severity,
            reason,
        } = refused;
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        say!("{severity} ({name}): {path}{line}: {object}: {field}: {reason}");
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
            "{} services, {} EndpointSlices, {} nodes, {} pools: {}",
            answer.services,
            answer.slices,
            answer.nodes,
            answer.pools,
            if answer.ok { "good" } else { "not good" }
        );
    }
}
