//! What the metrics mean that this process's dashboards and alerts ask for; the libraries that record them describe the rest.

use metrics::{Histogram, Unit, describe_histogram, histogram};

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
    describe_histogram!(
        "cache_invalidation_lag_seconds",
        Unit::Seconds,
        "From a commit until the cache had been told: inline, or by the tail, which repeats it from the outbox until Redis acknowledges."
    );
}

/// How long after its commit an invalidation came, by who told the cache.
pub(crate) struct InvalidationLag(Histogram);

impl InvalidationLag {
    pub(crate) fn by(who: &'static str) -> InvalidationLag {
        InvalidationLag(histogram!("cache_invalidation_lag_seconds", "by" => who))
    }

    pub(crate) fn record(&self, seconds: f64) {
        // The database's clock may be ahead of ours.
        self.0.record(seconds.max(0.0));
    }
}
