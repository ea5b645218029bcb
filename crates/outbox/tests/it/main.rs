//! The outbox on a real PostgreSQL and a real Kafka.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod fixture;
mod order;
mod wrong;
