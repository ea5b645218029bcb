//! `cargo stack`: the whole system on this machine, with one command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
