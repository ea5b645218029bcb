//! Faults under load, each on a stack of its own.

pub mod kill;
mod prey;
mod report;

use clap::ValueEnum;

/// The scenarios by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// kill -9 of each process under load, with work in flight.
    Kill,
}
