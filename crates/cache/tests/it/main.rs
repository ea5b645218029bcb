//! Against a real Redis, which `cargo stack test` provides.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reads;
mod shelf;
mod tls;
mod trouble;
