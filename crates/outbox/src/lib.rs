#![doc = include_str!("../README.md")]

mod aggregates;
mod append;
mod backoff;
mod check;
mod cli;
mod history;
mod kafka;
mod lease;
mod meter;
mod page;
mod position;
mod restate;
mod retention;
mod sink;
mod tail;
mod topics;
mod trace;
mod wake;
pub mod window;

pub use aggregates::{Aggregates, Table};
pub use append::{AppendError, Attribution, MAX_PAYLOAD, append_in_txn};
pub use check::{Check, Unstated, unstated};
pub use cli::Command;
pub use kafka::{KafkaSink, KafkaSinkArgs};
pub use page::{Page, Row};
pub use retention::{Retention, delete_chunk};
pub use sink::{Identity, Sink, SinkError, Watermark};
pub use tail::{Tail, TailArgs};
pub use topics::Topic;
pub use wake::Wake;
