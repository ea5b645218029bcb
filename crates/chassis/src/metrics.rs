//! Prometheus metrics: the recorder behind the `metrics` macros. The admin server renders it.

use anyhow::{Context as _, anyhow};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::build;
use crate::resources;
use crate::run::Service;

/// Upper bounds in seconds: from a cached read (half a millisecond) to the longest deadline.
const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper bounds for histograms of anything else: rows in a page (up to 4,000), records in a batch.
const COUNTS: [f64; 12] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0,
];

/// What the admin server renders.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: PrometheusHandle,
}

impl Metrics {
    /// For the whole process, once.
    pub(crate) fn install(service: Service) -> anyhow::Result<Metrics> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&COUNTS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            })
            .context("invalid histogram buckets")?
            .install_recorder()
            .map_err(|error| anyhow!("cannot install the metrics recorder: {error}"))?;
        metrics::describe_histogram!(
            "http_server_request_duration_seconds",
            metrics::Unit::Seconds,
            "Time from a request's head to its answer's head.",
        );
        metrics::describe_gauge!("build_info", "Which release runs; always 1.");
        metrics::gauge!(
            "build_info",
            "service" => service.name,
            "version" => service.version,
            "revision" => build::REVISION,
        )
        .set(1.0);
        Ok(Metrics { recorder })
    }

    /// In Prometheus's text format.
    pub(crate) fn render(&self) -> String {
        self.recorder.render() + &resources::exposition()
    }

    /// Folds raw histogram samples; without it they pile up until someone asks for the metrics.
    pub(crate) fn upkeep(&self) {
        self.recorder.run_upkeep();
    }
}
