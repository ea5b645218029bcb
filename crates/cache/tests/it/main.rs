//! Against a real Redis, which `cargo stack test` provides. A test that kills, stops, fills or empties one starts its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod cluster;
mod counted;
mod declared;
mod degraded;
mod flight;
mod history;
mod judged;
mod lists;
mod loaders;
mod operator;
mod reads;
mod scripts;
mod server;
mod shelf;
mod tail;
mod threads;
mod tls;
mod trouble;
mod wrong;
