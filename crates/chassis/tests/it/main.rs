//! The chassis seen from outside: `examples/minimal.rs` as a process, its sockets, its log and its exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod child;
mod configuration;
mod exit_codes;
mod http;
mod logs;
mod shutdown;
mod tls;
mod traces;
