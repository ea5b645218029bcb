//! Every fact as it was published, kept for ever: who changed what, when, and in which request.
//!
//! [`Log`] stores each record whole, also one that nobody can read. Nothing is parked: a record that cannot be stored stops its
//! partition until it can, because a log with holes proves nothing. Rows are only ever added; the runtime role has no right to change
//! or delete, and a trigger refuses it to the owner. [`api`] answers questions, and records each.

pub mod api;
mod apply;
mod schema;

pub use apply::Log;

/// The process, the audience of its tokens, and its Kafka group.
pub const NAME: &str = "audit-consumer";

/// The tables of the database `audit`.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/audit");
