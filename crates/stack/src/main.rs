//! `cargo stack`: the local system with one command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
