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
        messaging.operation.name = "process",
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

struct Traceparent<'a>(&'a str);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn raw(traceparent: &str) -> Raw {
        Raw {
            topic: "t".to_owned(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            headers: vec![("traceparent".to_owned(), Some(traceparent.as_bytes().to_vec()))],
            payload: None,
        }
    }

    fn trace_of(span: &Span) -> (TraceId, SpanId) {
        let context = span.context();
        let context = context.span().span_context().clone();
        (context.trace_id(), context.span_id())
    }

    #[test]
    fn a_record_and_its_transaction_are_in_the_trace_of_the_record() {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let id = "0af7651916cd43dd8448eb211c80319c";
            let record = record_span(&raw(&format!("00-{id}-b7ad6b7169203331-01")), "group");
            let transaction = record.in_scope(|| database::span("transaction"));
            let expected = TraceId::from_hex(id).unwrap();
            assert_eq!(trace_of(&record).0, expected);
            assert_eq!(trace_of(&transaction).0, expected);
            assert_ne!(trace_of(&record).1, trace_of(&transaction).1);

            for nonsense in ["", "hello", "00-0-0-00"] {
                let (trace, _) = trace_of(&record_span(&raw(nonsense), "group"));
                assert!(trace != TraceId::INVALID && trace != expected, "{nonsense}");
            }
        });
    }
}
