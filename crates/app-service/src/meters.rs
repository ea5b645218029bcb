//! What the metrics mean that this process's dashboards and alerts ask for; the libraries that record them describe the rest.

use metrics::{Unit, describe_histogram};

pub(crate) fn describe() {
    describe_histogram!(
        "db_client_operation_duration_seconds",
        Unit::Seconds,
        "Time of one query of PostgreSQL or one command of Redis, the wait for a connection included."
    );
    describe_histogram!(
        "write_step_duration_seconds",
        Unit::Seconds,
        "Time of a write by step; serialise is a part of decide."
    );
}
