//! Measurements, each on a stack of its own.

pub mod api;
mod cpu;
mod direct;
mod replay;
mod signer;
pub mod smoke;
mod unlimited;

use clap::Subcommand;

/// The benchmarks by name; each has a module with its plan and its report.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Bench {
    /// Requests per second of a cached read and of an order, through the gateway
    Smoke,
    /// Every endpoint of app-service, and the order path against pgbench running the same SQL
    Api(api::Plan),
}
