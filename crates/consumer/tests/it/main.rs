//! The runtime on a real broker and a real database.

mod fence;
mod group;
mod notes;
mod poison;
mod pressure;
