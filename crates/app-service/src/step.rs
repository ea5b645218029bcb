//! Where the time of a write goes: `write_step_duration_seconds` by step.

use std::time::Instant;

/// A part of a write; together they are nearly all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Waiting for a connection of the pool.
    Pool,
    /// BEGIN.
    Begin,
    /// Claiming the idempotency key.
    Idempotency,
    /// The handler's queries and decisions, and within it [`Serialise`](Step::Serialise).
    Decide,
    /// Making an answer's body; also that of a read which is not cached.
    Serialise,
    /// Inserting the facts, and storing the answer for the idempotency key, which is sent with them.
    Outbox,
    Commit,
    /// Waiting for the cache to hear of it.
    Invalidate,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Pool => "pool",
            Step::Begin => "begin",
            Step::Idempotency => "idempotency",
            Step::Decide => "decide",
            Step::Serialise => "serialise",
            Step::Outbox => "outbox",
            Step::Commit => "commit",
            Step::Invalidate => "invalidate",
        }
    }
}

/// Runs and measures a step.
pub(crate) async fn timed<T>(step: Step, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let outcome = work.await;
    record(step, begun);
    outcome
}

/// Measures a step that has no await.
pub(crate) fn timed_now<T>(step: Step, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let outcome = work();
    record(step, begun);
    outcome
}

fn record(step: Step, begun: Instant) {
    metrics::histogram!("write_step_duration_seconds", "step" => step.name())
        .record(begun.elapsed().as_secs_f64());
}
