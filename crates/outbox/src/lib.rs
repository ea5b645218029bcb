//! A transactional outbox: the facts of a transaction are rows of the same transaction, and a
//! relay publishes every committed one to Kafka, at least once, the first copies of an
//! aggregate's facts in the order of its versions.
//!
//! - [`append_in_txn`] inserts the facts.
//! - [`Relay`] publishes them. Any number of replicas run one; a PostgreSQL session lock makes
//!   one of them the owner.
//!
//! The relay reads the table by *snapshot differences* (as PgQ does): everything that is visible
//! in a later snapshot and was not in an earlier one, by id. Reading by `id > last` instead
//! loses rows, because a lower id can commit later.

mod append;
mod cursor;
mod kafka_sink;
mod relay;
mod trace;
mod window;

pub use append::{AppendError, Attribution, MAX_PAYLOAD, append_in_txn};
pub use relay::{Relay, RelayArgs, Wake};
