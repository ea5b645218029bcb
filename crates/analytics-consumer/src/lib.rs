//! What was sold, when: revenue and units in buckets of 15 minutes of event time, folded from the storefront's events.
//!
//! The state is a function of each aggregate's latest state and nothing else, so duplicates, gaps and any order of arrival converge.
//! The path of an event: [`Sales`] (`apply`) → `fold` → the tables of `migrations/analytics`; of a request: [`api`].

pub mod api;
mod apply;
mod event;
pub mod fold;
mod schema;

pub use apply::Sales;
pub use event::Fact;

/// The process, the audience of its tokens, and its Kafka group.
pub const NAME: &str = "analytics-consumer";

/// The tables of the database `analytics`.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/analytics");
