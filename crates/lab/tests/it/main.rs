//! What holds for the system as a whole.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod arrows;
mod chaos;
mod configuration;
mod containers;
mod diagram;
mod forbidden;
mod graph;
mod kafka_down;
mod ledger;
mod openapi;
mod readiness;
mod relay;
mod restore;
mod roll;
mod settings;
mod shop;
mod sockets;
mod stampede;
mod start;
mod telemetry;
mod tls;
mod whole;
