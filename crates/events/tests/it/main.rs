//! The bytes on the wire: what this release writes stays what it is, and is read back.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod golden;
