//! Against a real Redis, which `cargo stack test` provides.

mod reads;
mod shelf;
mod trouble;
