//! Measurements, each on a stack of its own.

pub mod api;
mod cpu;
mod direct;
pub mod idle;
mod replay;
mod signer;
pub mod smoke;
pub(crate) mod unlimited;

use clap::Subcommand;

/// The benchmarks by name; each has a module with its plan and its report.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Bench {
    /// Requests per second of a cached read and of an order, through the gateway
    Smoke,
    /// Memory of each process when nobody asks anything of it
    Idle(idle::Plan),
    /// Every endpoint of app-service, and the order path against pgbench running the same SQL
    Api(api::Plan),
}
