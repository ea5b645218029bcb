//! What holds for the system as a whole.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod chaos;
mod graph;
mod ledger;
mod whole;
