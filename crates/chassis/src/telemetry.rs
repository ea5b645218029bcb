//! Logs, traces and metrics of the whole process.

use std::panic::PanicHookInfo;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context as TraceContext, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

use crate::args::{LogArgs, LogFormat};
use crate::log::{Correlation, JsonLines};
use crate::metrics::Metrics;
use crate::run::Service;
use crate::trace;

/// How long the last spans may take to reach the collector.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// What is logged unless `RUST_LOG` says otherwise; actix announces each worker.
pub(crate) const DEFAULT_LOG: &str = "info,actix_server=warn";

/// Libraries below the export of spans and below our clients: their spans would describe the export itself, or say twice what ours say.
const NOT_EXPORTED: [&str; 7] = ["actix", "h2", "hyper", "mio", "opentelemetry", "reqwest", "tower"];

pub(crate) struct Telemetry {
    tracing: SdkTracerProvider,
    pub(crate) metrics: Metrics,
}

impl Telemetry {
    /// For the whole process, once.
    ///
    /// # Errors
    /// When one of the `OTEL_*` settings is invalid that are read from the environment alone.
    pub(crate) fn install(service: Service, args: &LogArgs) -> anyhow::Result<Telemetry> {
        let tracing = tracer_provider(service, args.otlp_endpoint.as_deref())?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracing.tracer(service.name))
            // Source locations and threads cost more in each span than they tell.
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(exported).with_max_level_hint(LevelFilter::INFO));
        let lines = match args.format() {
            LogFormat::Json => fmt::layer()
                .fmt_fields(Correlation)
                .event_format(JsonLines::of(service))
                .boxed(),
            LogFormat::Pretty => fmt::layer().boxed(),
        };
        tracing_subscriber::registry()
            .with((!is_disabled()).then_some(spans))
            .with(lines.with_filter(logged(&args.log_filter)?))
            .try_init()
            .context("cannot install the log")?;
        std::panic::set_hook(Box::new(log_panic));
        let metrics = Metrics::install(service)?;
        Ok(Telemetry { tracing, metrics })
    }

    /// Sends what is not yet sent. Must be called outside any runtime: the exporter's HTTP client blocks.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.tracing.shutdown_with_timeout(FLUSH_LIMIT) {
            tracing::warn!(%error, error.type = "export", "the last spans were not exported");
        }
    }
}

/// Without an endpoint there are spans all the same, so that trace ids exist in logs, rows and headers.
fn tracer_provider(service: Service, collector: Option<&str>) -> anyhow::Result<SdkTracerProvider> {
    let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| service.name.to_owned());
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attribute(KeyValue::new("service.version", service.version))
        .build();
    let provider = SdkTracerProvider::builder().with_resource(resource);
    Ok(match exporter(collector)? {
        Some(exporter) => provider.with_batch_exporter(exporter).build(),
        None => provider.build(),
    })
}

/// Connects to nothing yet. It reads the other standard OTEL_EXPORTER_OTLP_* settings, and builds its blocking client on a thread of
/// its own.
fn exporter(collector: Option<&str>) -> anyhow::Result<Option<SpanExporter>> {
    if is_disabled() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http();
    let exporter = match collector.filter(|collector| !collector.is_empty()) {
        _ if variable(TRACES_ENDPOINT).is_some() => exporter,
        Some(collector) => exporter.with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/'))),
        None => return Ok(None),
    };
    let exporter = exporter
        .build()
        .context("invalid OTEL_EXPORTER_OTLP_* settings")?;
    Ok(Some(exporter))
}

/// Which spans are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spans {
    All,
    /// Those whose parent is sampled: the sampler would do as that was done to.
    Sampled,
    None,
}

impl Spans {
    /// Whether a request that continues `parent` has no span.
    pub(crate) fn leave_out(self, parent: &TraceContext) -> bool {
        match self {
            Spans::All => false,
            Spans::Sampled => trace::is_unsampled(parent),
            Spans::None => true,
        }
    }
}

/// As the environment says.
pub(crate) fn spans() -> Spans {
    let sampler = variable("OTEL_TRACES_SAMPLER");
    match sampler {
        _ if is_disabled() => Spans::None,
        Some(sampler) if !sampler.starts_with("parentbased_") => Spans::All,
        _ => Spans::Sampled,
    }
}

/// Whether there are no spans at all.
fn is_disabled() -> bool {
    variable("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true"))
}

/// For traces alone; it wins over the endpoint of all signals.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// What OpenTelemetry reads from the environment alone; empty is as good as unset.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// What is wrong with the `OTEL_*` settings that are read from the environment alone. OpenTelemetry itself would warn and do something
/// else, in a log that has begun by then.
pub(crate) fn faults(args: &LogArgs) -> Vec<String> {
    let mut faults = Vec::new();
    let endpoint = variable(TRACES_ENDPOINT).map_or(Ok(String::new()), |endpoint| collector(&endpoint));
    match endpoint {
        Err(reason) => faults.push(format!("invalid {TRACES_ENDPOINT}: {reason}")),
        Ok(_) => faults.extend(
            exporter(args.otlp_endpoint.as_deref())
                .err()
                .map(|error| format!("{error:#}")),
        ),
    }
    let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_default();
    let kind = sampler.strip_prefix("parentbased_").unwrap_or(&sampler);
    if !matches!(kind, "" | "always_on" | "always_off" | "traceidratio") {
        faults.push(format!(
            "invalid OTEL_TRACES_SAMPLER '{sampler}': it is none of always_on, always_off, traceidratio, parentbased_always_on, \
             parentbased_always_off, parentbased_traceidratio"
        ));
    }
    let ratio = variable("OTEL_TRACES_SAMPLER_ARG").map(|ratio| ratio.parse::<f64>().ok());
    let in_range = ratio.map(|ratio| ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)));
    if kind == "traceidratio" && in_range != Some(true) {
        faults.push("OTEL_TRACES_SAMPLER_ARG is not a ratio from 0 to 1, like 0.1".to_owned());
    }
    faults
}

/// A collector's base URL; empty means none, as the OpenTelemetry specification has it.
pub(crate) fn collector(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<actix_web::http::Uri>().ok();
    let uri = uri.filter(|uri| uri.authority().is_some());
    match uri.as_ref().and_then(|uri| uri.scheme_str()) {
        _ if text.is_empty() => Ok(String::new()),
        Some("http") => Ok(text.to_owned()),
        Some("https") => Err(
            "the exporter has no TLS; name a collector beside the process, like http://127.0.0.1:4318, which sends on with TLS",
        ),
        _ => Err("it is not a URL like http://collector:4318"),
    }
}

/// What `RUST_LOG` may be; empty means the default, as it does elsewhere.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    let directives = if text.is_empty() { DEFAULT_LOG } else { text };
    EnvFilter::try_new(directives)
        .map(|_| directives.to_owned())
        .map_err(|error| format!("{error}; it is like info,consumer=debug"))
}

/// Spans, and errors, which mark the span that they happen in.
fn exported(metadata: &Metadata<'_>) -> bool {
    (is_our_span(metadata) || *metadata.level() == Level::ERROR)
        && !NOT_EXPORTED
            .iter()
            .any(|library| metadata.target().starts_with(library))
}

fn is_our_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO
}

/// `directives` decide about lines. Spans stay on whatever they say: a warning needs its request id.
fn logged<S>(directives: &str) -> anyhow::Result<impl Filter<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'a> LookupSpan<'a> + 'static,
{
    let lines = EnvFilter::try_new(directives).map_err(|error| anyhow!("invalid RUST_LOG: {error}"))?;
    let spans = filter_fn(is_our_span).with_max_level_hint(LevelFilter::INFO);
    Ok(lines.or(spans))
}

/// In place of the default hook's text on stderr, so that a panic is a log line like any other.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(location, panic = message, error.type = "panicked", "panicked");
}
