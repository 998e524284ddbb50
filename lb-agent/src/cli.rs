//! The command line. One file a command.
#![expect(clippy::print_stderr, reason = "errors go to standard error")]

mod backends;
mod bgp;
mod check;
mod counters;
mod crds;
mod flows;
mod maps;
mod members;
mod output;
mod pools;
mod purge;
mod run;
mod services;
mod status;
mod vips;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::dataplane::kernel;
use crate::dataplane::pins::Pins;
use crate::report;
use crate::source::object::Ours;

/// Corten: a load balancer for Kubernetes on bare metal.
///
/// One agent runs on each node (`lb-agent run`). It reads what the cluster
/// says and writes tables into the kernel, where packets for service addresses
/// (VIPs) are forwarded to pods. All other commands look at these tables, and
/// work also while no agent runs: forwarding goes on without it.
#[derive(Debug, Parser)]
#[command(name = "lb-agent", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Status(status::Status),
    Services(services::Services),
    Vips(vips::ListVips),
    Pools(pools::Pools),
    Backends(backends::Backends),
    Bgp(bgp::Bgp),
    Flows(flows::Flows),
    Counters(counters::Counters),
    Maps(maps::Maps),
    Members(members::MembersCommand),
    Check(check::Check),
    Crds(crds::Crds),
    Purge(purge::Purge),
}

/// Which agent's tables.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The folder, on a bpffs, where the agent keeps its tables
    #[arg(
        long,
        env = "CORTEN_BPFFS",
        value_name = "FOLDER",
        default_value = lb_common::maps::PIN_ROOT
    )]
    bpffs: PathBuf,
    /// Where the agent says how it is [default: a folder below /run/lb-agent
    /// that is named after --bpffs]
    #[arg(long, value_name = "FOLDER")]
    run_dir: Option<PathBuf>,
}

/// Which Services are ours.
#[derive(Clone, Debug, Args)]
struct Class {
    /// Serve only Services of this spec.loadBalancerClass [default: those that
    /// name none]
    #[arg(long, value_name = "CLASS", env = "CORTEN_LB_CLASS")]
    lb_class: Option<String>,
}

impl Class {
    /// Empty is none, as for MetalLB's flag.
    fn ours(self) -> Ours {
        Ours {
            class: self.lb_class.filter(|class| !class.is_empty()),
        }
    }
}

impl Place {
    /// Of a folder that can hold tables.
    fn pins(&self) -> anyhow::Result<Pins> {
        kernel::check_bpffs(&self.bpffs)?;
        Ok(Pins::new(&self.bpffs))
    }

    fn run_folder(&self) -> PathBuf {
        let default = || report::default_folder(&self.bpffs);
        self.run_dir.clone().unwrap_or_else(default)
    }
}

/// Parses the arguments and does what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Status(status) => status.run(),
        Command::Services(services) => services.run(),
        Command::Vips(vips) => vips.run(),
        Command::Pools(pools) => pools.run(),
        Command::Backends(backends) => backends.run(),
        Command::Bgp(bgp) => bgp.run(),
        Command::Flows(flows) => flows.run(),
        Command::Counters(counters) => counters.run(),
        Command::Maps(maps) => maps.run(),
        Command::Members(members) => members.run(),
        Command::Check(check) => check.run(),
        Command::Crds(crds) => crds.run(),
        Command::Purge(purge) => purge.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes; some repeat theirs.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
