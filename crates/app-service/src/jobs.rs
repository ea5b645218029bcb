//! What the process does without being asked.

pub(crate) mod expire_orders;
