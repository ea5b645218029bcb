//! One flight a key and process: whoever wants what is being fetched anyway waits for it.
//!
//! A flight is a task of its own, so that a caller that gives up does not take it along. It flies rounds: fetch, serve,
//! and again while somebody waits who may not have what was fetched. So at most one load runs and one waits.
//!
//! **The joining rule.** A caller may have what a command fetched, or fenced, only if it joined before that command was
//! *sent*. Otherwise: a flight leases, loads v0 and sends its populate, which Redis accepts; somebody commits v1 and
//! invalidates; a reader that begins now joins before the populate's reply arrives, and is served v0.
//!
//! So an accepted populate serves those who joined before it was sent, an entry found in Redis those who joined before the
//! command that found it, and a load without Redis those who joined before the load. What Redis rejects serves only those
//! who joined before the lease: stricter than need be while loaders read the primary, and nearly free.

mod core;

/// What `core` is synchronised with; its model check (`tests/it/flight`) puts loom's own in this place.
mod sync {
    pub(super) use std::sync::{Arc, Mutex};
}

pub(crate) use self::core::{Flights, Pilot, Sent};
