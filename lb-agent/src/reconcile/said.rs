//! What a run says: in the log, and in the report that `lb-agent status` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_core::config::Configuration;
use lb_core::desired::{Desired, Vip};
use lb_core::ipam::Assignment;
use lb_core::owner::Absent;
use lb_core::problem::{Problem, Severity};
use lb_core::shared::SharedMap;

use super::Reconciler;
use super::stopwatch::Stopwatch;
use crate::clock;
use crate::dataplane::apply::ApplyError;
use crate::dataplane::attach::AttachError;
use crate::dataplane::readback::ReadError;
use crate::errors::one_line;
use crate::report::ProblemRow;
use crate::report::addresses::Addresses;
use crate::report::vips::Vips;

/// Of one kind of problem that comes up at once, this many are logged.
const SAID_MOST: usize = 10;
/// And this many are reported.
const REPORTED_MOST: usize = 200;

/// What addresses are worked out from, and what they are.
pub(super) type AddressesOf = (Option<Arc<Configuration>>, Arc<Assignment>);

/// What the file of VIPs is made of.
pub(super) type VipsOf = (SharedMap<IpAddr, Arc<Vip>>, Arc<Absent>);

/// Something that is to be tried again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum Failure {
    Apply(#[from] ApplyError),
    Read(#[from] ReadError),
    Attach(#[from] AttachError),
}

impl Reconciler {
    pub(super) fn note_work(&mut self, watch: &Stopwatch, steps: usize) {
        let took_us = watch.total_us();
        let work = &mut self.report.work;
        work.runs += 1;
        work.last_us = took_us;
        work.last_cpu_us = watch.cpu_us();
        work.last_steps = steps;
        work.longest_us = work.longest_us.max(took_us);
        work.at_s = clock::boottime().as_secs();
        if work.runs == 1 {
            work.first_us = took_us;
        }
        let cpu_us = work.last_cpu_us;
        tracing::debug!(steps, took_us, cpu_us, parts_us = ?watch.laps, "reconciled");
    }

    /// Each problem is said once, when it comes up, and when it is gone.
    pub(super) fn say_problems(&mut self, problems: impl Iterator<Item = Problem>) {
        let problems: BTreeSet<Problem> = problems.collect();
        let mut said: BTreeMap<&'static str, usize> = BTreeMap::new();
        for problem in problems.difference(&self.known_problems) {
            let times = said.entry(problem.name()).or_default();
            *times += 1;
            if *times > SAID_MOST {
                continue;
            }
            match problem.severity() {
                Severity::Error => tracing::error!(name = problem.name(), "{problem}"),
                Severity::Warning => tracing::warn!(name = problem.name(), "{problem}"),
                Severity::Note => tracing::info!(name = problem.name(), "{problem}"),
            }
        }
        for problem in self.known_problems.difference(&problems) {
            tracing::debug!(name = problem.name(), "no longer: {problem}");
        }
        for (name, times) in said {
            if times > SAID_MOST {
                let more = times - SAID_MOST;
                tracing::warn!(name, "and {more} more; `lb-agent status` lists them");
            }
        }
        if problems != self.known_problems || self.report.work.runs == 1 {
            let mut rows: Vec<_> = problems.iter().collect();
            self.report.problems_total = rows.len();
            rows.sort_by_key(|problem| problem.severity());
            rows.truncate(REPORTED_MOST);
            self.report.problems = rows
                .into_iter()
                .map(|problem| ProblemRow {
                    name: problem.name().to_owned(),
                    severity: problem.severity().to_string(),
                    text: problem.to_string(),
                })
                .collect();
            self.known_problems = problems;
        }
    }

    pub(super) fn report_state(&mut self, failures: &[Failure]) {
        let mut not_ready: Vec<String> = failures.iter().map(|failure| one_line(failure)).collect();
        if self.uplinks.is_empty() {
            not_ready.push(
                "no uplink is known: no device has an address of this node's Node object or a \
                 default route; check --node, or name one with --uplink"
                    .to_owned(),
            );
        }
        for reason in &not_ready {
            if !self.report.not_ready.contains(reason) {
                tracing::error!("{reason}");
            }
        }
        if not_ready.is_empty() && !self.report.ready {
            tracing::info!(
                frontends = self.current.frontends.len(),
                backends = self.current.backends.len(),
                nodes = self.current.nodes.len(),
                "ready"
            );
        }
        self.report.ready = not_ready.is_empty();
        self.report.not_ready = not_ready;
        self.write_report();
    }

    /// For `lb-agent pools`, whenever it is something else.
    pub(super) fn write_addresses(&mut self, desired: &Desired) {
        let config = &self.inputs.facts.config.good;
        let of = (config.clone(), desired.assignment.clone());
        if self.addresses.as_ref() == Some(&of) {
            return;
        }
        let folder = &self.settings.run_folder;
        let addresses = Addresses::new(of.0.as_deref(), &of.1);
        match addresses.write(folder) {
            Ok(()) => self.addresses = Some(of),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot write the addresses");
            }
        }
    }

    /// For `lb-agent vips`, whenever it is something else.
    pub(super) fn write_vips(&mut self, desired: &Desired) {
        let of = (desired.vips.clone(), desired.absent.clone());
        if let Some((vips, absent)) = &self.vips_of
            && vips.is_same(&of.0)
            && *absent == of.1
        {
            return;
        }
        let folder = &self.settings.run_folder;
        let vips = Vips::new(desired, &self.vips, clock::wall());
        match vips.write(folder) {
            Ok(()) => (self.vips, self.vips_of) = (vips, Some(of)),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot write the VIPs");
            }
        }
    }

    pub(super) fn write_report(&self) {
        self.tells
            .report
            .send_replace(Arc::new(self.report.clone()));
        let folder = &self.settings.run_folder;
        if let Err(error) = self.report.write(folder) {
            tracing::warn!(folder = %folder.display(), %error, "cannot write the status file");
        }
    }
}
