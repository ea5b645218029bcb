//! Faults under load, each on a stack of its own.

pub mod cache;
pub mod committed;
pub mod kafka_down;
pub mod kill;
mod prey;
mod redis_admin;
pub mod redis_trouble;
pub mod relay_kill;
pub mod relay_report;
mod report;
pub mod roll;
mod storefront;

use clap::Subcommand;

/// The scenarios by name; each has a module with its plan and its report.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Scenario {
    /// kill -9 of each process under load, with work in flight
    Kill(kill::Plan),
    /// Replicas of app-service killed, stopped and suspended, Kafka and PostgreSQL killed: what was committed is in the log, in order
    RelayKill(relay_kill::Plan),
    /// Kafka down for a while, and writes go on
    KafkaDown(kafka_down::Plan),
    /// Reads through the cache under writes, with Redis killed, flushed, evicting, full, stopped and restored, and app-service killed
    /// between COMMIT and invalidation: nothing is read that had been invalidated
    Cache(cache::Plan),
    /// Reads through app-service with Redis killed, stopped, slow, full, refusing and replaced: none fails
    RedisTrouble(redis_trouble::Plan),
    /// Rolling restart of gateway and app-service under load; every request is answered
    Roll(roll::Plan),
}
