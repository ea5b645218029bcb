//! The runtime's metrics: what they are called and what they mean.

use std::time::Duration;

use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::partition::Partition;

/// Says what each is, and lets those begin at 0 that otherwise only appear when something went wrong.
pub(crate) fn describe(topics: &[String]) {
    describe_counter!(
        "messaging_client_consumed_messages_total",
        Unit::Count,
        "Records received from Kafka."
    );
    describe_histogram!(
        "messaging_process_duration_seconds",
        Unit::Seconds,
        "Time from taking a batch in hand until it is committed, retries included."
    );
    describe_histogram!(
        "db_client_operation_duration_seconds",
        Unit::Seconds,
        "Time of one transaction or query of PostgreSQL, the wait for a connection included."
    );
    describe_gauge!(
        "consumer_lag",
        Unit::Count,
        "High watermark minus position, of the partitions that this process owns."
    );
    describe_gauge!(
        "consumer_oldest_unprocessed_age_seconds",
        Unit::Seconds,
        "Age of the oldest record that was fetched and is not committed; 0 when there is none."
    );
    describe_counter!(
        "consumer_duplicates_total",
        Unit::Count,
        "Records below the position, which were dropped."
    );
    describe_counter!(
        "consumer_rebalances_total",
        Unit::Count,
        "How often partitions were assigned to this process or taken from it."
    );
    describe_gauge!(
        "dead_letters",
        Unit::Count,
        "Records in the table dead_letter: at the start, plus what was parked since."
    );
    counter!("consumer_rebalances_total").increment(0);
    for topic in topics {
        consumed(topic, 0);
        duplicates(topic, 0);
    }
}

pub(crate) fn consumed(topic: &str, records: u64) {
    counter!("messaging_client_consumed_messages_total", "messaging_destination_name" => topic.to_owned())
        .increment(records);
}

pub(crate) fn processed(topic: &str, took: Duration) {
    histogram!("messaging_process_duration_seconds", "messaging_destination_name" => topic.to_owned())
        .record(took);
}

pub(crate) fn duplicates(topic: &str, records: u64) {
    counter!("consumer_duplicates_total", "topic" => topic.to_owned()).increment(records);
}

pub(crate) fn rebalanced() {
    counter!("consumer_rebalances_total").increment(1);
}

pub(crate) fn dead_letters() -> Gauge {
    gauge!("dead_letters")
}

pub(crate) fn lag(partition: &Partition) -> Gauge {
    gauge!("consumer_lag", "topic" => partition.topic.clone(), "partition" => partition.number.to_string())
}

pub(crate) fn age(partition: &Partition) -> Gauge {
    gauge!("consumer_oldest_unprocessed_age_seconds", "topic" => partition.topic.clone(), "partition" => partition.number.to_string())
}
