//! What clients notice when the node that answers for a VIP is lost, or goes:
//! probes without an answer, and open connections that are reset or silent;
//! beside what keepalived and MetalLB do in the same lab and the same run.
//!
//! Three nodes on one link with two pods each, UDP probes every 5 ms in each of
//! twelve flows, 90 connections with traffic, and a machine that asks every 5
//! ms who has the VIP, by ARP and by neighbour discovery. What happens to pods
//! of the lost node itself is left out: no load balancer can help them.

mod corten;
mod fault;
mod keepalived;
mod metallb;
mod question;
pub mod routed;
mod system;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

pub use self::fault::Fault;
pub use self::trial::Noticed;

use self::corten::Corten;
use self::keepalived::{Advert, Keepalived};
use self::metallb::MetalLb;
use self::system::System;
use crate::interrupt;
use crate::lab::Spec;

const PREFIX: &str = "cortenfail";
const PODS: u16 = 6;

/// What has the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    Normal,
    Fast,
    /// With an advertisement each second.
    Keepalived,
    /// VRRP version 3, each 0.1 s.
    KeepalivedTenth,
    /// With kube-proxy (nftables), in a cluster.
    #[serde(rename = "metallb")]
    MetalLb,
}

/// What the systems are made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The folder of `lb-agent` and `corten-echo`.
    pub programs: PathBuf,
    /// Of MetalLB's images and the pods' server's; empty if
    /// [`needs_cluster`] says no.
    pub archives: Vec<PathBuf>,
}

/// What is promised of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Nothing is lost, and no question unanswered.
    NothingLost,
    /// Nothing is lost, and questions are answered again within it.
    OnlyQuestions(Duration),
    Within(Duration),
}

impl Candidate {
    const ALL: [Self; 5] = [
        Self::Normal,
        Self::Fast,
        Self::Keepalived,
        Self::KeepalivedTenth,
        Self::MetalLb,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Corten, normal",
            Self::Fast => "Corten, fast",
            Self::Keepalived => "keepalived, 1 s",
            Self::KeepalivedTenth => "keepalived, 0.1 s",
            Self::MetalLb => "MetalLB, kube-proxy",
        }
    }

    /// Those whose name contains `case`.
    fn faults(self, case: &str) -> Vec<Fault> {
        let drains = !matches!(self, Self::Keepalived | Self::KeepalivedTenth);
        let all = Fault::ALL.into_iter();
        all.filter(|fault| *fault != Fault::Drain || drains)
            .filter(|fault| name(self, *fault).contains(case))
            .collect()
    }

    fn up(self, parts: &Parts) -> Result<Box<dyn System>> {
        let programs: &Path = &parts.programs;
        let mut spec = Spec::new(PREFIX, programs.join("corten-echo"));
        spec.pods = PODS;
        spec.agent = Some(programs.join("lb-agent"));
        Ok(match self {
            Self::Normal => Box::new(Corten::up(spec, "normal")?),
            Self::Fast => Box::new(Corten::up(spec, "fast")?),
            Self::Keepalived => Box::new(Keepalived::up(spec, Advert::Second)?),
            Self::KeepalivedTenth => Box::new(Keepalived::up(spec, Advert::Tenth)?),
            Self::MetalLb => Box::new(MetalLb::up(spec, &parts.archives)?),
        })
    }

    /// How long at least to look: longer than it takes until the VIP moves.
    fn watch(self) -> Duration {
        Duration::from_secs(match self {
            Self::Normal | Self::Fast | Self::KeepalivedTenth => 2,
            Self::Keepalived => 5,
            Self::MetalLb => 10,
        })
    }

    fn limit(self, fault: Fault) -> Option<Limit> {
        let (killed, link, silence) = match self {
            Self::Normal => (1000, 500, 1200),
            Self::Fast => (400, 400, 400),
            Self::Keepalived | Self::KeepalivedTenth | Self::MetalLb => return None,
        };
        Some(match fault {
            Fault::Terminate | Fault::Drain => Limit::NothingLost,
            Fault::Kill => Limit::OnlyQuestions(Duration::from_millis(killed)),
            Fault::LinkDown => Limit::Within(Duration::from_millis(link)),
            Fault::Silence | Fault::NodeGone => Limit::Within(Duration::from_millis(silence)),
        })
    }
}

impl Limit {
    fn is_kept(self, line: &Line) -> bool {
        let within = |limit: Duration| line.gap_ms.max(line.asked_gap_ms) < millis(limit);
        match self {
            Self::NothingLost => line.lost == 0,
            Self::OnlyQuestions(limit) => line.lost == 0 && within(limit),
            Self::Within(limit) => within(limit),
        }
    }

    fn text(self) -> String {
        match self {
            Self::NothingLost => "0 lost".to_owned(),
            Self::OnlyQuestions(limit) => format!("0 lost, {}", millis(limit)),
            Self::Within(limit) => format!("{}", millis(limit)),
        }
    }
}

/// One fault of one candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub system: Candidate,
    pub fault: Fault,
    pub runs: usize,
    /// Medians of the runs. Probes of pods that were not lost,
    pub lost: u64,
    /// the longest stretch of these without an answer, in milliseconds,
    pub gap_ms: f64,
    /// and that of questions who has the VIP.
    pub asked_gap_ms: f64,
    /// The longest of either in any run.
    pub most_ms: f64,
    /// Either, in that of keepalived at 1 s; none: nothing was lost there.
    pub ratio: Option<f64>,
    /// Connections of all runs whose pod was not lost.
    pub connections: u64,
    pub reset: u64,
    pub silent: u64,
    pub limit: Option<String>,
    pub over: bool,
}

/// Whether measuring the cases named so takes a whole cluster.
#[must_use]
pub fn needs_cluster(case: &str) -> bool {
    !Candidate::MetalLb.faults(case).is_empty()
}

/// Measures those whose name contains `case`; `progress` hears of every run.
pub fn run(
    runs: usize,
    case: &str,
    parts: &Parts,
    mut progress: impl FnMut(&str),
) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for candidate in Candidate::ALL {
        let faults = candidate.faults(case);
        if faults.is_empty() {
            continue;
        }
        progress(&format!("bringing up: {}", candidate.name()));
        let mut system = candidate.up(parts)?;
        let watcher = question::add_watcher(system.lab())?;
        for fault in faults {
            let mut noticed = Vec::new();
            for run in 0..runs {
                interrupt::check()?;
                let name = name(candidate, fault);
                progress(&format!("{name}, run {} of {runs}", run + 1));
                let trial = trial::run(&mut *system, &watcher, fault, candidate.watch());
                let trial = trial.context(name)?;
                progress(&format!(
                    "lost {}, gap {:.0} ms, questions {:.0} ms; {} of {} connections reset, {} silent",
                    trial.lost,
                    millis(trial.gap),
                    millis(trial.asked_gap),
                    trial.reset,
                    trial.connections,
                    trial.silent
                ));
                noticed.push(trial);
            }
            lines.push(line(candidate, fault, &noticed));
        }
    }
    ensure!(!lines.is_empty(), "no case is named like \"{case}\"");
    compare(&mut lines);
    Ok(lines)
}

fn name(candidate: Candidate, fault: Fault) -> String {
    format!("{}: {}", candidate.name(), fault.name())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn line(system: Candidate, fault: Fault, noticed: &[Noticed]) -> Line {
    let sum = |of: &dyn Fn(&Noticed) -> u64| noticed.iter().map(of).sum();
    let gaps = noticed.iter().map(|one| one.gap.max(one.asked_gap));
    let mut lost: Vec<u64> = noticed.iter().map(|one| one.lost).collect();
    lost.sort_unstable();
    let limit = system.limit(fault);
    let mut line = Line {
        system,
        fault,
        runs: noticed.len(),
        lost: lost[lost.len() / 2],
        gap_ms: super::median(noticed.iter().map(|one| millis(one.gap))),
        asked_gap_ms: super::median(noticed.iter().map(|one| millis(one.asked_gap))),
        most_ms: millis(gaps.max().unwrap_or_default()),
        ratio: None,
        connections: sum(&|one| one.connections),
        reset: sum(&|one| one.reset),
        silent: sum(&|one| one.silent),
        limit: limit.map(Limit::text),
        over: false,
    };
    line.over = limit.is_some_and(|limit| !limit.is_kept(&line));
    line
}

fn compare(lines: &mut [Line]) {
    let whole = |line: &Line| line.gap_ms.max(line.asked_gap_ms);
    let those = lines
        .iter()
        .filter(|line| line.system == Candidate::Keepalived);
    let those: Vec<(Fault, f64)> = those.map(|line| (line.fault, whole(line))).collect();
    for line in lines {
        let same = those.iter().find(|(fault, _)| *fault == line.fault);
        let same = same.filter(|(_, theirs)| *theirs > 0.0);
        line.ratio = same.map(|(_, theirs)| whole(line) / theirs);
    }
}

/// For people.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:<19} {:<21} {:>6} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>6}  {}\n",
        "",
        "",
        "lost",
        "gap, ms",
        "asked",
        "at most",
        "to 1 s",
        "flows",
        "reset",
        "silent",
        "limit"
    );
    for line in lines {
        let ratio = line.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let limit = line.limit.as_ref().map_or("-".into(), |limit| {
            format!("{limit} {}", if line.over { "OVER" } else { "ok" })
        });
        text.push_str(&format!(
            "{:<19} {:<21} {:>6} {:>7.0} {:>7.0} {:>7.0} {:>8} {:>7} {:>7} {:>6}  {}\n",
            line.system.name(),
            line.fault.name(),
            line.lost,
            line.gap_ms,
            line.asked_gap_ms,
            line.most_ms,
            ratio,
            line.connections,
            line.reset,
            line.silent,
            limit
        ));
    }
    text.push_str(
        "lost: probes of pods that were not lost with the node; gap: the longest stretch of \
         these; asked: of questions who has the VIP, by ARP and NDP;\nto 1 s: the longer of \
         both, in that of keepalived at 1 s; flows: open connections of all runs, whose pods \
         were not lost\n",
    );
    text
}
