//! Readers that are wrong on purpose: a test that they pass proves nothing.

pub(crate) mod id_after_last;
