//! What settings have in common, for libraries that take them and know no process: secrets in files, durations within bounds, and the
//! two ways in which a start fails that are not the program's fault.

mod duration;
mod failure;
mod secret;

pub use duration::duration;
pub use failure::{Misconfigured, Unavailable};
pub use secret::*;
