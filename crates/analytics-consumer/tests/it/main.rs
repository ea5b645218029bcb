//! Against a real database, and a real broker where records matter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod convergence;
mod orders;
mod through_kafka;
mod tokens;
