//! Measurements, each on a stack of its own.

mod direct;
pub mod smoke;
mod unlimited;

use clap::ValueEnum;

/// The benchmarks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// Requests per second of a cached read and of an order, through the gateway.
    Smoke,
}
