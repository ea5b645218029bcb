//! The rules hold for every value and every sequence of steps, not only for the examples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod money;
mod order;
mod product;
mod stock;
