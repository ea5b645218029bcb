//! Against a real database, a real broker where records matter, and an SMTP server that can be told to misbehave.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deliveries;
mod events_to_mails;
mod mail_server;
mod sending;
