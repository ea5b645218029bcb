//! The runtime on a real broker and a real database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fence;
mod group;
mod notes;
mod poison;
mod pressure;
mod rotation;
