//! Measurements, each on a stack of its own.

mod backlog;
mod bare;
mod cpu;
mod direct;
pub mod idle;
pub mod relay_drain;
pub mod relay_latency;
pub mod smoke;
pub(crate) mod unlimited;

use clap::Subcommand;

/// The benchmarks by name; each has a module with its plan and its report.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// Requests per second of a cached read and of an order, through the gateway
    Smoke,
    /// Facts per second that the relay publishes from a full outbox, against a bare librdkafka producer
    RelayDrain(relay_drain::Plan),
    /// How long a fact takes from its transaction to Kafka, and what the tails cost while nobody writes
    RelayLatency(relay_latency::Plan),
    /// Memory of each process when nobody asks anything of it
    Idle(idle::Plan),
}
