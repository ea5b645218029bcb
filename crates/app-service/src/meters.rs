//! What the metrics mean that this process's dashboards and alerts ask for; the libraries that record them describe the rest.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) fn describe() {
    describe_histogram!(
        "db_client_operation_duration_seconds",
        Unit::Seconds,
        "Time of one query of PostgreSQL or one command of Redis, the wait for a connection included."
    );
    describe_counter!(
        "messaging_client_sent_messages_total",
        Unit::Count,
        "Records that Kafka acknowledged."
    );
    describe_gauge!(
        "outbox_pending",
        Unit::Count,
        "Facts in the outbox that are not delivered yet, as its owner sees them."
    );
    describe_gauge!(
        "outbox_oldest_age_seconds",
        Unit::Seconds,
        "Age of the oldest fact that is not delivered yet; 0 when there is none."
    );
}
