//! Continues a request's trace across the outbox row.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::page::Row;

/// A span for publishing `row`, child of the request that caused it; `None` when that request
/// was not sampled, because a span per record is dear.
pub(crate) fn publish_span(row: &Row<'_>) -> Option<Span> {
    let traceparent = row.traceparent().filter(|parent| parent.ends_with("-01"))?;
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    if !context.span().span_context().is_valid() {
        return None;
    }
    let span = tracing::info_span!(
        "publish",
        otel.kind = "producer",
        otel.name = format!("send {}", row.topic()),
        peer.service = "kafka",
        messaging.system = "kafka",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = row.topic(),
        outbox.id = row.id(),
    );
    // Without an OpenTelemetry layer there is nothing to attach the parent to.
    let _ = span.set_parent(context);
    Some(span)
}
