//! What a process asks of its database, as spans and as a metric.

use std::future::Future;
use std::time::Instant;

use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Runs `work` in a client span of PostgreSQL, and measures it together with the wait for its connection. The span is an error when
/// `work` fails, of the type that `kind` says: one of few words.
pub async fn observed<T, E>(
    operation: &'static str,
    kind: impl FnOnce(&E) -> &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = span(operation);
    let outcome = measured(operation, work.instrument(span.clone())).await;
    if let Err(error) = &outcome {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", kind(error));
    }
    outcome
}

/// Measures `work` without a span: for what is asked again and again for nobody in particular.
pub async fn measured<T>(operation: &'static str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let outcome = work.await;
    metrics::histogram!(
        "db_client_operation_duration_seconds",
        "db_system_name" => "postgresql",
        "db_operation_name" => operation,
    )
    .record(started.elapsed().as_secs_f64());
    outcome
}

/// A client span of PostgreSQL.
pub fn span(operation: &'static str) -> Span {
    tracing::info_span!(
        "postgresql",
        otel.name = operation,
        otel.kind = "client",
        otel.status_code = Empty,
        peer.service = "postgresql",
        db.system.name = "postgresql",
        db.operation.name = operation,
        error.type = Empty,
    )
}
