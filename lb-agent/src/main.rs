//! The agent and its command line, in one program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_agent::cli::main()
}
