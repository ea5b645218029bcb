//! Waiting for a database that is not up yet.

use std::time::Duration;

use tokio::time::Instant;

/// The database did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database is still unreachable after {limit:?}: {last}")]
pub struct StillDown {
    limit: Duration,
    last: String,
}

/// Tries until `attempt` succeeds, for at most about `limit`; says in the log that it waits.
///
/// # Errors
/// [`StillDown`], with the last refusal, when the time is over.
pub(crate) async fn until_up<T>(
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, StillDown> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let last = match attempt().await {
            Ok(up) => return Ok(up),
            Err(last) => last,
        };
        if started.elapsed() + pause > limit {
            return Err(StillDown { limit, last });
        }
        tracing::warn!(
            waited_seconds = started.elapsed().as_secs(),
            limit_seconds = limit.as_secs(),
            error.type = "unavailable",
            error = last,
            "waiting for the database",
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
