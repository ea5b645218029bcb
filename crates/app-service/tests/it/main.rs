//! The process that ships, on a database of its own and a real Redis. Kafka is not reachable in most of these tests:
//! nothing here may need it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorization;
mod bad_input;
mod catalogue;
mod concurrency;
mod constraints;
mod cost;
mod customers;
mod expiry;
mod idempotency;
mod operator;
mod orders;
mod outages;
mod pages;
mod preconditions;
mod shop;
mod stock;
mod strictness;
mod trouble;
mod wrong;
