//! What the cache counted: a recorder for the whole test binary.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

static COUNTS: LazyLock<Mutex<HashMap<String, Arc<AtomicU64>>>> = LazyLock::new(|| {
    metrics::set_global_recorder(Counts).unwrap();
    Mutex::default()
});

/// Call it before the cache is made.
pub(crate) fn listen() {
    LazyLock::force(&COUNTS);
}

/// Of a counter, or how many values a histogram has, with the values of its labels in the order of the code: `count("cache_loads_total", &["shelf", "miss"])`.
pub(crate) fn count(name: &str, labels: &[&str]) -> u64 {
    let key = format!("{name} {}", labels.join(" "));
    COUNTS
        .lock()
        .unwrap()
        .get(&key)
        .map_or(0, |count| count.load(Ordering::SeqCst))
}

struct Counts;

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
        let key = format!("{} {}", key.name(), labels.join(" "));
        Counter::from_arc(Arc::clone(COUNTS.lock().unwrap().entry(key).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    /// Counts the values.
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values(self.register_counter(key, metadata))))
    }
}

struct Values(Counter);

impl HistogramFn for Values {
    fn record(&self, _: f64) {
        self.0.increment(1);
    }
}
