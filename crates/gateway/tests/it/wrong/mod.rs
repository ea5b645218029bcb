//! Limiters that look right. The tests of the right one must tell them from it.

mod fixed_window;
mod forgetful;

pub(crate) use fixed_window::FixedWindow;
pub(crate) use forgetful::Forgetful;
