//! Faults under load, each on a stack of its own.

pub mod kill;
mod prey;
mod report;

use clap::Subcommand;

/// The scenarios by name; each has a module with its plan and its report.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Scenario {
    /// kill -9 of each process under load, with work in flight
    Kill(kill::Plan),
}
