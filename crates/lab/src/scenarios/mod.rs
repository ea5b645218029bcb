//! Faults under load, each on a stack of its own.

pub mod kill;
mod prey;
mod report;
pub mod roll;

use clap::Subcommand;

/// The scenarios by name; each has a module with its plan and its report.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Scenario {
    /// kill -9 of each process under load, with work in flight
    Kill(kill::Plan),
    /// Rolling restart of gateway and app-service under load; every request is answered
    Roll(roll::Plan),
}
