use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::record::Raw;

/// The span of one record's processing, a child of the trace that its `traceparent` names.
pub(crate) fn record_span(raw: &Raw, group_id: &str) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.name = format!("process {}", raw.topic),
        otel.kind = "consumer",
        peer.service = "kafka",
        messaging.system = "kafka",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group_id,
        messaging.destination.name = raw.topic,
        messaging.destination.partition.id = raw.partition,
        messaging.kafka.offset = raw.offset,
        event_id = raw.header("ce_id"),
    );
    if let Some(traceparent) = raw.header("traceparent") {
        let parent = TraceContextPropagator::new().extract(&Traceparent(traceparent));
        if parent.span().span_context().is_valid() {
            // Fails only where no OpenTelemetry layer is installed, and then there is no trace to join.
            let _ = span.set_parent(parent);
        }
    }
    span
}

/// The span of a batch's transaction.
pub(crate) fn transaction_span() -> Span {
    tracing::info_span!(
        "batch",
        otel.name = "apply batch",
        otel.kind = "client",
        peer.service = "postgresql",
        db.system.name = "postgresql",
        db.operation.name = "transaction",
    )
}

struct Traceparent<'a>(&'a str);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}
