//! The gateway as a process, between a raw client and a small upstream that tells what reached it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod keys;
mod process;
mod tls;
mod upstream;
mod wrong;

mod bodies;
mod configuration;
mod forwarding;
mod limiter;
mod limits;
mod refusals;
mod retries;
mod shutdown;
