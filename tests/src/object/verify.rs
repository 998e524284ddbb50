//! What the kernel's verifier says of every program.

use anyhow::{Context as _, Result};
use aya::programs::{Program, ProgramInfo};
use aya::{EbpfLoader, VerifierLogLevel};
use serde::Serialize;

/// A program that the running kernel has taken.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    pub program: String,
    /// After the kernel's own rewriting.
    pub instructions: u32,
    /// That the verifier walked, all ways together.
    pub verified: u32,
    /// Of machine code.
    pub bytes: u32,
}

/// The most that the kernel's verifier walks.
pub const LIMIT: u32 = 1_000_000;

/// Loads every program of an object on this kernel.
pub fn verify(object: &std::path::Path) -> Result<Vec<Verified>> {
    const INSTRUCTION: u32 = 8;
    let bytes = std::fs::read(object)
        .with_context(|| format!("no {}: `cargo xtask build-ebpf`", object.display()))?;
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(&bytes)?;
    let mut programs = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let info: ProgramInfo = match program {
            Program::Xdp(program) => program.load().and_then(|()| program.info()),
            Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
            _ => continue,
        }
        .with_context(|| format!("the kernel does not take {name}"))?;
        programs.push(Verified {
            program: name.to_owned(),
            instructions: info.size_translated().unwrap_or(0) / INSTRUCTION,
            verified: info.verified_instruction_count().unwrap_or(0),
            bytes: info.size_jitted(),
        });
    }
    programs.sort_by(|a, b| a.program.cmp(&b.program));
    Ok(programs)
}
