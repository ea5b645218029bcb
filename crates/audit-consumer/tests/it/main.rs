//! Against a real database, and a real broker where records matter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod append_only;
mod log;
mod records;
mod tokens;
