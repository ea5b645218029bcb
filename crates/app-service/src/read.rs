//! Reading what is committed.

use std::time::Instant;

use chassis::Problem;
use diesel_async::AsyncPgConnection;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::app::App;
use crate::call::Call;
use crate::checkout::Checkout;
use crate::trouble::Trouble;

/// Runs `query` on a connection of the pool, until the caller's deadline.
pub(crate) async fn read<T>(
    app: &App,
    call: &Call,
    query: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Trouble>,
) -> Result<T, Problem> {
    let reading = async {
        let mut conn = Checkout::of(&app.pool).await?;
        let outcome = query(&mut conn).await;
        conn.give_back();
        outcome
    };
    let reading = async {
        let outcome = reading.await;
        if let Err(trouble) = &outcome {
            let span = Span::current();
            span.record("otel.status_code", "ERROR");
            span.record("error.type", kind(trouble));
        }
        outcome
    };
    Ok(call.within(observed("read", reading)).await??)
}

/// The `error.type` of spans.
fn kind(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::QueueFull => "queue-full",
        Trouble::Pool(_) => "pool",
        Trouble::Database(_) => "database",
        Trouble::Append(_) => "append",
        Trouble::Corrupt { .. } => "corrupt",
    }
}

/// Runs `work` in a client span of the database, and measures it together with the wait for its connection.
pub(crate) async fn observed<T>(operation: &'static str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let span = tracing::info_span!(
        "postgresql",
        otel.name = operation,
        otel.kind = "client",
        otel.status_code = Empty,
        peer.service = "postgresql",
        db.system.name = "postgresql",
        db.operation.name = operation,
        error.type = Empty,
    );
    let outcome = work.instrument(span).await;
    metrics::histogram!(
        "db_client_operation_duration_seconds",
        "db_system_name" => "postgresql",
        "db_operation_name" => operation,
    )
    .record(started.elapsed().as_secs_f64());
    outcome
}
