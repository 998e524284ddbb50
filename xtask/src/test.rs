//! `cargo xtask test`: all tests, and how many there were.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lb_tests::kubernetes::API_TOOLS;
use lb_tests::require::is_root;

use crate::report::say;
use crate::workspace::{cargo, run, target};
use crate::{build, build_ebpf, image, report, setup};

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Run only tests with this in their name
    filter: Option<String>,
    /// Run everything this many times
    #[arg(long, default_value_t = 1, value_name = "N")]
    repeat: u32,
    /// Only these test targets, as in `cargo test --test`
    #[arg(long = "test", value_name = "TARGET")]
    targets: Vec<String>,
    /// Also those on a whole Kubernetes cluster, which are left out where a
    /// filter or targets are named
    #[arg(long)]
    kubernetes: bool,
}

impl Test {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        ensure!(
            is_root() || skips("kernel") && skips("net"),
            "the kernel and network tests need root: run as root, or leave them out with \
             LB_TEST_SKIP=kernel,net"
        );
        if !skips("net") {
            setup::lab()?;
        }
        if !skips("kubernetes") {
            setup::kubernetes_tools(API_TOOLS)?;
        }
        if self.clusters() {
            setup::cluster()?;
            image::for_cluster(&build::stand_alone()?)?;
            image::for_migration()?;
        }
        build_ebpf::build()?;
        report::step("building the programs under test");
        run(cargo().args(["build", "-p", "lb-agent", "-p", "lb-tests", "--bins"]))?;
        let mut total = Counts::default();
        let mut whole = true;
        for round in 1..=self.repeat {
            if self.repeat > 1 {
                report::step(format_args!("round {round} of {}", self.repeat));
            }
            let (counts, succeeded) = self.once()?;
            total += counts;
            whole &= succeeded;
        }
        say!("{}", total.line());
        Ok(if whole {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn once(&self) -> Result<(Counts, bool)> {
        let skip_log = SkipLog::start()?;
        let mut command = cargo();
        command.args(["test", "--no-fail-fast"]);
        if self.targets.is_empty() {
            command.arg("--workspace");
        } else {
            command.args(["-p", "lb-tests"]);
            for target in &self.targets {
                command.args(["--test", target]);
            }
        }
        command
            .args(&self.filter)
            .env("LB_TEST_SKIP", self.skips())
            .env("LB_TEST_SKIP_LOG", &skip_log.path)
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run cargo test")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut counts = Counts::default();
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read what the tests print")?;
            say!("{line}");
            counts += Counts::of(&line);
        }
        let status = child.wait().context("cannot wait for cargo test")?;
        // A skipped test has returned at once, which counts as passing.
        let skipped = skip_log.lines()?;
        counts.passed = counts.passed.saturating_sub(skipped);
        counts.skipped += skipped;
        if !status.success() && counts.failed == 0 {
            // It did not build, or died before it could count.
            counts.failed = 1;
        }
        Ok((counts, status.success()))
    }
}

impl Test {
    /// Whether whole clusters are brought up. Who names a test mostly wants
    /// another one, and not to wait for images.
    fn clusters(&self) -> bool {
        let everything = self.filter.is_none() && self.targets.is_empty();
        let wanted = ["net", "kubernetes", "cluster"]
            .into_iter()
            .all(|kind| !skips(kind));
        wanted && (everything || self.kubernetes)
    }

    /// The kinds of tests that are left out: what the user names, and clusters
    /// where they are not wanted.
    fn skips(&self) -> String {
        let mut skips = std::env::var("LB_TEST_SKIP").unwrap_or_default();
        if !self.clusters() {
            skips += ",cluster";
        }
        skips
    }
}

fn skips(kind: &str) -> bool {
    let skips = std::env::var("LB_TEST_SKIP").unwrap_or_default();
    skips.split(',').any(|skip| skip.trim() == kind)
}

/// The file into which tests write that they were skipped.
struct SkipLog {
    path: PathBuf,
}

impl SkipLog {
    fn start() -> Result<Self> {
        let path = target().join("skipped-tests");
        fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path })
    }

    fn lines(&self) -> Result<u32> {
        let text = fs::read_to_string(&self.path).context("the log of skipped tests is gone")?;
        u32::try_from(text.lines().count()).context("there are not that many tests")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Counts {
    /// Of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`;
    /// zero of any other line.
    fn of(line: &str) -> Self {
        let mut counts = Self::default();
        let Some((_, numbers)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return counts;
        };
        for part in numbers.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else {
                continue;
            };
            match what {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.skipped = number,
                _ => {}
            }
        }
        counts
    }

    fn line(self) -> String {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut total = Counts::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.1s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            total += Counts::of(line);
        }
        assert_eq!(total.line(), "4 passed, 2 failed, 1 skipped");
    }
}
