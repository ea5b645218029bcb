//! Steps that are wrong on purpose: a checker that lets them pass proves nothing.

pub(crate) mod opening;
pub(crate) mod reading;
pub(crate) mod retrying;
