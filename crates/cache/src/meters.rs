//! A namespace's metrics, looked up once: a lookup by name costs more than the count. Labels are names from the code,
//! never from a request.

use metrics::{
    Counter, Histogram, SharedString, counter, describe_counter, describe_gauge, describe_histogram,
    histogram,
};

pub(crate) struct Meters {
    namespace: &'static str,
    pub(crate) requests: Requests,
    pub(crate) coalesced: Counter,
    pub(crate) load_time: Histogram,
}

/// `cache_requests_total` by result.
pub(crate) struct Requests {
    pub(crate) fresh: Counter,
    pub(crate) early: Counter,
    pub(crate) stale: Counter,
    pub(crate) negative: Counter,
    pub(crate) miss: Counter,
    pub(crate) error: Counter,
}

impl Meters {
    pub(crate) fn new(namespace: &'static str) -> Meters {
        let requests =
            |result| counter!("cache_requests_total", "namespace" => namespace, "result" => result);
        for result in ["match", "changed", "mismatch"] {
            counter!("cache_audits_total", "namespace" => namespace, "result" => result).absolute(0);
        }
        Meters {
            namespace,
            requests: Requests {
                fresh: requests("fresh"),
                early: requests("early"),
                stale: requests("stale"),
                negative: requests("negative"),
                miss: requests("miss"),
                error: requests("error"),
            },
            coalesced: counter!("cache_coalesced_total", "namespace" => namespace),
            load_time: histogram!("cache_load_duration_seconds", "namespace" => namespace),
        }
    }

    /// The source was asked, because of `reason`.
    pub(crate) fn load(&self, reason: &'static str) {
        counter!("cache_loads_total", "namespace" => self.namespace, "reason" => reason).increment(1);
    }

    pub(crate) fn lease(&self, result: &'static str) {
        counter!("cache_leases_total", "namespace" => self.namespace, "result" => result).increment(1);
    }

    pub(crate) fn populate(&self, result: &'static str) {
        counter!("cache_populates_total", "namespace" => self.namespace, "result" => result).increment(1);
    }

    /// `inline` and `tail` tell who applied it.
    pub(crate) fn invalidation(&self, result: &'static str) {
        counter!("cache_invalidations_total", "namespace" => self.namespace, "result" => result).increment(1);
    }

    pub(crate) fn audit(&self, result: &'static str) {
        counter!("cache_audits_total", "namespace" => self.namespace, "result" => result).increment(1);
    }
}

/// How long commands of this name take, from sending one to its reply.
pub(crate) fn operation(name: impl Into<SharedString>) -> Histogram {
    histogram!(
        "db_client_operation_duration_seconds",
        "db_system_name" => "redis",
        "db_operation_name" => name.into(),
    )
}

/// What each metric means; call it once. What an alert waits for is 0 from then on: the first of what had no series is no increase.
pub(crate) fn describe() {
    for name in ["cache_loads_shed_total", "cache_reapplies_total"] {
        counter!(name).absolute(0);
    }
    describe_counter!(
        "cache_requests_total",
        "Reads, by how they were answered: fresh, early (and refreshed behind), stale, negative, miss, error (Redis did not answer)."
    );
    describe_counter!(
        "cache_coalesced_total",
        "Reads that shared a load or a lease which another read of the process had begun."
    );
    describe_counter!(
        "cache_loads_total",
        "Loads from the source, by reason: miss, early, stale, slow (of which a load was), bypass (Redis did not help), newer (another release's entry), too_large, key_too_long, audit."
    );
    describe_histogram!("cache_load_duration_seconds", "How long loads take.");
    describe_counter!(
        "cache_leases_total",
        "Leases asked for: won (or given back while too many loads run), expired (won after a holder that never gave it back), busy, fresh (somebody had refreshed it), newer."
    );
    describe_counter!(
        "cache_populates_total",
        "Entries offered to Redis: ok, or rejected because of token, floor, older, schema, full; too_large; failed."
    );
    describe_counter!(
        "cache_invalidations_total",
        "Invalidations: applied inline or by the tail, redundant, or failed and left to the tail."
    );
    describe_counter!(
        "cache_audits_total",
        "Hits compared with their source: match, changed (committed meanwhile), mismatch (still older after the staleness bound)."
    );
    describe_counter!(
        "cache_loads_shed_total",
        "Loads refused because too many were waiting."
    );
    describe_gauge!(
        "cache_loads_in_progress",
        "Loads that run, of those that the bulkhead allows."
    );
    describe_gauge!("cache_loads_waiting", "Loads that wait for the bulkhead.");
    describe_gauge!("cache_breaker_open", "1 while Redis is left alone, otherwise 0.");
    describe_gauge!(
        "cache_watermark_age_seconds",
        "How long ago it was confirmed that all invalidations had arrived; infinite before."
    );
    describe_gauge!(
        "cache_watermark_lag_seconds",
        "How far behind the commits this process's invalidations were when it last confirmed them."
    );
    describe_counter!(
        "cache_reapplies_total",
        "How often the watermark was withdrawn because Redis may have lost invalidations."
    );
}
