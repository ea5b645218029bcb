//! Measurements, each on a stack of its own.

pub mod api;
mod backlog;
mod bare;
pub mod cache_read;
mod cpu;
mod direct;
pub mod idle;
pub mod outbox_write;
mod pgbench;
pub mod relay_drain;
pub mod relay_latency;
mod replay;
pub(crate) mod signer;
pub mod smoke;
pub mod stampede;
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
    /// Every endpoint of app-service, and the order path against pgbench running the same SQL
    Api(api::Plan),
    /// A cached read of app-service against a bare handler that does one Redis GET of the same bytes
    CacheRead(cache_read::Plan),
    /// What expiries and invalidations cost in loads, and who waits for them, against naive cache-aside
    Stampede(stampede::Plan),
    /// What the outbox costs an order: over HTTP, and by pgbench with the same SQL and without the insert into the outbox
    OutboxWrite(outbox_write::Plan),
}
