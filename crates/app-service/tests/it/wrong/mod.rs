//! What must not be: each is a copy of one step with a mistake in it, that a checker has to report.

pub(crate) mod read_then_write;
