//! W3C trace context as text, for what carries no HTTP headers of its own making: a database row, a Kafka header, a client's request.

use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The `traceparent` that makes another process's span a child of `span`; `None` when tracing is off.
pub fn traceparent(span: &Span) -> Option<String> {
    text(&span.context())
}

/// That of the span that was entered, or of the request that is handled without one.
pub fn current() -> Option<String> {
    Context::map_current(text)
}

/// `work` with the trace, the span and the log lines' ids of the request that calls this, wherever it runs.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    work.in_current_span().with_current_context()
}

fn text(context: &Context) -> Option<String> {
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8(),
        )
    })
}

/// Makes `span` a child of the remote span that `traceparent` names; an invalid one is ignored.
///
/// Works only before `span` is entered for the first time or asked for its own [`traceparent`].
pub fn set_parent(span: &Span, traceparent: &str) {
    if let Some(parent) = remote(traceparent) {
        adopt(span, parent);
    }
}

pub(crate) fn adopt(span: &Span, parent: Context) {
    if let Err(error) = span.set_parent(parent) {
        tracing::debug!(%error, "the span keeps its own parent");
    }
}

/// The context of the remote span that `traceparent` names, if it is valid.
pub(crate) fn remote(traceparent: &str) -> Option<Context> {
    // Not extended from what is current here, which is another request's.
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(traceparent));
    context.span().span_context().is_valid().then_some(context)
}

/// The one header that there is.
struct Carrier<'a>(&'a str);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Whether `context` is in a trace that nobody will see: what a span would record of it is thrown away.
pub(crate) fn is_unsampled(context: &Context) -> bool {
    let span = context.span();
    let span = span.span_context();
    span.is_valid() && !span.is_sampled()
}

/// Gives `span` another name where it is exported. Recording `otel.name` does nothing once a span was entered.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn with_tracing(body: impl FnOnce()) {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body);
    }

    #[test]
    fn a_span_continues_the_trace_that_its_parent_text_names() {
        with_tracing(|| {
            let ours = traceparent(&tracing::info_span!("sender")).unwrap();
            let span = tracing::info_span!("receiver");
            set_parent(&span, &ours);
            let theirs = traceparent(&span).unwrap();

            let trace = |text: &str| text.split('-').nth(1).unwrap().to_owned();
            let id = |text: &str| text.split('-').nth(2).unwrap().to_owned();
            assert_eq!(trace(&ours), trace(&theirs));
            assert_ne!(id(&ours), id(&theirs));
            assert_eq!(ours.len(), 55);
        });
    }

    #[test]
    fn an_invalid_parent_is_ignored_and_the_span_begins_a_trace() {
        with_tracing(|| {
            for text in [
                "",
                "hello",
                "00-0-0-00",
                "00-00000000000000000000000000000000-0000000000000000-01",
            ] {
                let span = tracing::info_span!("receiver");
                set_parent(&span, text);
                assert!(traceparent(&span).is_some(), "{text}");
            }
        });
    }

    #[tokio::test]
    async fn a_task_of_its_own_is_in_the_trace_of_its_request() {
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let spawned = async { tokio::spawn(carried(async { current() })).await };
        let carried = spawned.with_context(remote(sent).unwrap()).await.unwrap();
        assert_eq!(carried.as_deref(), Some(sent));
        assert_eq!(current(), None);
    }

    #[test]
    fn without_tracing_there_is_no_traceparent() {
        assert_eq!(traceparent(&Span::none()), None);
    }
}
