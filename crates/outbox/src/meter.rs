//! What a tail tells its operator.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use time::OffsetDateTime;

use crate::page::Page;
use crate::sink::SinkError;

/// A tail's metrics, and the log line at each change from working to failing and back.
pub(crate) struct Meter {
    sink: &'static str,
    owner: Gauge,
    lease_changes: Counter,
    halted: Gauge,
    pending: Gauge,
    oldest: Gauge,
    latency: Histogram,
    page_rows: Histogram,
    rewinds: Counter,
    owning: bool,
    failing: Option<&'static str>,
}

impl Meter {
    pub(crate) fn new(sink: &'static str) -> Meter {
        describe();
        Meter {
            sink,
            owner: gauge!("outbox_lease_owner", "sink" => sink),
            lease_changes: counter!("outbox_lease_changes_total", "sink" => sink),
            halted: gauge!("outbox_halted", "sink" => sink),
            pending: gauge!("outbox_pending", "sink" => sink),
            oldest: gauge!("outbox_oldest_age_seconds", "sink" => sink),
            latency: histogram!("outbox_delivery_seconds", "sink" => sink),
            page_rows: histogram!("outbox_page_rows", "sink" => sink),
            rewinds: counter!("outbox_rewinds_total", "sink" => sink),
            owning: false,
            failing: None,
        }
    }

    pub(crate) fn owns(&mut self, owning: bool) {
        if owning != self.owning {
            self.lease_changes.increment(1);
        }
        self.owning = owning;
        self.owner.set(if owning { 1.0 } else { 0.0 });
        if !owning {
            // The next owner's numbers count; a sum over replicas must not hold these as well.
            self.backlog(0, Duration::ZERO);
        }
    }

    pub(crate) fn halted(&self, halted: bool) {
        self.halted.set(if halted { 1.0 } else { 0.0 });
    }

    /// The backlog as the id sequence tells it: an estimate, since rolled back ids count too.
    pub(crate) fn backlog(&self, rows: i64, oldest: Duration) {
        self.pending.set(rows.max(0) as f64);
        self.oldest.set(oldest.as_secs_f64());
    }

    /// `now` by the database's clock, as `occurred_at` is.
    pub(crate) fn delivered(&self, page: &Page, now: OffsetDateTime) {
        if page.is_empty() {
            return;
        }
        self.page_rows.record(page.len() as f64);
        for occurred_at in page.occurred_at() {
            self.latency.record((now - occurred_at).as_seconds_f64().max(0.0));
        }
    }

    pub(crate) fn rewound(&self) {
        self.rewinds.increment(1);
    }

    pub(crate) fn failed(&mut self, error: &SinkError) {
        let class = error.class();
        counter!("outbox_publish_errors_total", "sink" => self.sink, "error_type" => class).increment(1);
        let cause = error.to_string();
        if self.failing == Some(class) {
            tracing::debug!(sink = self.sink, class, cause, "the sink still fails");
        } else {
            tracing::error!(
                sink = self.sink,
                error.type = class,
                error = cause,
                "the sink fails; the outbox keeps what it can't take"
            );
        }
        self.failing = Some(class);
    }

    pub(crate) fn works(&mut self) {
        if let Some(class) = self.failing.take() {
            tracing::info!(sink = self.sink, class, "the sink works again");
        }
    }
}

/// Says once more what each metric of this crate means; the recorder keeps the last.
fn describe() {
    describe_gauge!(
        "outbox_lease_owner",
        "1 where this process owns the sink's tail; the sum over all is 1."
    );
    describe_counter!(
        "outbox_lease_changes_total",
        "How often this process became the tail's owner, or ceased to be."
    );
    describe_gauge!(
        "outbox_halted",
        "1 while the tail waits for an operator, because the database went back in time."
    );
    describe_gauge!(
        "outbox_pending",
        "Facts that the sink has not had yet, estimated from ids; the owner's count, and of each replica while the tail is stopped."
    );
    describe_gauge!(
        "outbox_oldest_age_seconds",
        Unit::Seconds,
        "Age of the oldest fact that the sink has not had yet."
    );
    describe_histogram!(
        "outbox_delivery_seconds",
        Unit::Seconds,
        "Time from a fact's row, just before its commit, to the sink's acknowledgement."
    );
    describe_histogram!("outbox_page_rows", "Facts in a page that was delivered.");
    describe_counter!(
        "outbox_rewinds_total",
        "How often a sink was fed again because its store had forgotten."
    );
    describe_counter!(
        "outbox_publish_errors_total",
        "Pages that could not be delivered, by what was wrong."
    );
    describe_counter!(
        "messaging_client_sent_messages_total",
        "Records that Kafka has acknowledged."
    );
    describe_counter!(
        "outbox_deleted_rows_total",
        "Rows that were deleted because they were old and delivered everywhere."
    );
    describe_gauge!(
        "outbox_unstated_versions",
        "Aggregates whose version was committed without its fact, at the last pass; 0 or a bug."
    );
}
