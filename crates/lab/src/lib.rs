//! The lab: load, faults, measurements, and the ledger that tells whether the system kept its promises.

mod arena;
pub mod benches;
pub mod fuzz;
pub mod ledger;
pub mod load;
mod log_watch;
pub mod scenarios;
mod scrape;
mod spread;
mod table;

pub use crate::arena::{Arena, Folder, programs};
pub use crate::log_watch::{LogWatch, Order};
