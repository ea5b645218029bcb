//! A transactional outbox: the facts of a transaction are rows of the same transaction, and
//! tails hand every committed one to Kafka and to caches, at least once, the first copies of an
//! aggregate's facts in the order of its versions.
//!
//! - [`append_in_txn`] inserts the facts.
//! - A [`Tail`] hands them to a [`Sink`]; [`KafkaSink`] publishes them. Any number of replicas run
//!   one; a lease by the database's clock makes one of them the owner.
//! - [`Retention`] deletes what every sink has had for long enough.

mod aggregates;
mod append;
mod backoff;
mod check;
mod cli;
mod kafka;
mod lease;
mod meter;
mod page;
mod restate;
mod retention;
mod sink;
mod tail;
mod topics;
mod trace;
pub mod window;

pub use aggregates::{Aggregates, Table};
pub use append::{AppendError, Attribution, MAX_PAYLOAD, append_in_txn};
pub use check::{Check, Unstated, unstated};
pub use cli::Command;
pub use kafka::{KafkaSink, KafkaSinkArgs};
pub use page::{Page, Row};
pub use retention::{Retention, delete_chunk};
pub use sink::{Identity, Sink, SinkError, Watermark};
pub use tail::{Tail, TailArgs, Wake};
pub use topics::Topic;
