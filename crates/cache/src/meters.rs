//! A namespace's metrics, looked up once: a lookup by name costs more than the count. Labels are names from the code,
//! never from a request.

use metrics::{Counter, Histogram, counter, histogram};

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

    pub(crate) fn invalidation(&self, by: &'static str, result: &'static str) {
        counter!("cache_invalidations_total", "namespace" => self.namespace, "by" => by, "result" => result)
            .increment(1);
    }

    pub(crate) fn audit(&self, result: &'static str) {
        counter!("cache_audits_total", "namespace" => self.namespace, "result" => result).increment(1);
    }
}
