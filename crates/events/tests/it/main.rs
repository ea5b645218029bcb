//! The bytes on the wire: what this release writes stays what it is, and is read back.

mod golden;
