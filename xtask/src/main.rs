//! The project's own tools: `cargo xtask <command>`.
//!
//! One file a command. What the lab is made of is in the package `lb-tests`.

mod bench;
mod build;
mod build_ebpf;
mod crds;
mod demo;
mod fuzz;
mod image;
mod lab;
mod manifests;
mod maps_doc;
mod report;
mod setup;
mod test;
mod verify;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and try out Corten.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install and build what the other commands call, where it is missing
    Setup,
    /// Build the data plane, the agent with it inside, and the lab's programs
    Build,
    /// Write the agent's container image as an OCI archive
    Image(image::Image),
    /// Build the data plane's BPF object
    BuildEbpf,
    /// Run all tests; those of the kernel and the network need root
    Test(test::Test),
    /// Write lb-common/MAPS.md, the list of the kernel's tables
    MapsDoc(maps_doc::MapsDoc),
    /// Write manifests/crds, the definitions of the custom resources
    Crds(crds::Crds),
    /// Write manifests/install.yaml, with which Corten is installed
    Manifests(manifests::Manifests),
    /// Show in a minute what Corten does, on a network made for it here
    Demo(demo::Demo),
    /// Load every program on this kernel and show what its verifier says
    Verify(verify::Verify),
    /// Feed random bytes to whatever reads a network
    Fuzz(fuzz::Fuzz),
    /// Measure what a packet costs in the kernel
    Bench(bench::Bench),
    /// A network with a client, nodes and pods on this machine, to try things
    #[command(subcommand)]
    Lab(lab::Lab),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup => setup::run(),
        Command::Build => build::run(),
        Command::Image(image) => image.run(),
        Command::BuildEbpf => build_ebpf::run(),
        Command::Test(test) => test.run(),
        Command::MapsDoc(maps_doc) => maps_doc.run(),
        Command::Crds(crds) => crds.run(),
        Command::Manifests(manifests) => manifests.run(),
        Command::Demo(demo) => demo.run(),
        Command::Verify(verify) => verify.run(),
        Command::Fuzz(fuzz) => fuzz.run(),
        Command::Bench(bench) => bench.run(),
        Command::Lab(lab) => lab.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
}
