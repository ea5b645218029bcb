//! Mails that the storefront's events ask for, each sent at most once.
//!
//! SMTP knows no transactions: between the end of the message and the server's answer lies a moment in which nobody can know whether
//! the mail was accepted. What is promised is therefore bounded, and visible in the table `email_delivery`:
//!
//! - An event leads to exactly one row, written in the transaction that consumes it ([`Mailings`]).
//! - A row is `transmitting` in the database before its message goes to the server ([`Sender`]). A sender that dies before may be
//!   replaced freely; one that dies after leaves the row `ambiguous`, and an ambiguous mail is never sent again.
//! - Every attempt has the same Message-ID.

mod apply;
mod delivery;
mod event;
mod schema;
mod sender;
mod smtp;
mod templates;

pub use apply::Mailings;
pub use event::Fact;
pub use sender::Sender;
pub use smtp::{MailArgs, SmtpUrl};

/// The process and its Kafka group.
pub const NAME: &str = "email-consumer";

/// The tables of the database `email`.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/email");
