//! How a process reaches its one PostgreSQL database: arguments, a pool, a connection of its own, migrations.
//!
//! - [`pool`] for requests and batches: bounded, with deadlines for waiting and connecting.
//! - [`dedicated`] for sessions that must outlive a checkout (a session lock, `LISTEN`).
//! - [`migrate`] as the owner role; no process holds DDL rights while it serves.
//!
//! Every session states its limits when it connects: statements end after 5 s, waits for a lock after 2 s, and idle transactions after
//! 10 s, all on the server; commits are synchronous.

mod args;
mod command;
mod language;
mod migrate;
mod operation;
mod patience;
mod pool;
mod prepared;
mod session;
mod tls;
mod watch;

pub use args::{Access, CommandArgs, DatabaseArgs, DatabaseUrl};
pub use command::Command;
pub use migrate::migrate;
pub use operation::{measured, observed, span};
pub use patience::StillDown;
pub use pool::{Pool, pool, wait_until_up};
pub use prepared::{Prepared, prepared};
pub use session::{dedicated, for_command};
pub use watch::watch;
