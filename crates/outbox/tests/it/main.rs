//! The outbox on a real PostgreSQL and a real Kafka.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod append;
mod controls;
mod crash;
mod errors;
mod example;
mod fixture;
mod history;
mod operator;
mod pace;
mod pages;
mod partitions;
mod publishing;
mod random;
mod reader;
mod retention;
mod rotation;
mod server;
mod sinks;
mod takeover;
mod telemetry;
mod wrong;
