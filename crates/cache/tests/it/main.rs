//! Against a real Redis, which `cargo stack test` provides.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error should fail where it does"
)]

mod reads;
mod shelf;
mod trouble;
