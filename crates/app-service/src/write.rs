//! Changing something: the only place that commits.

use std::time::Duration;

use chassis::{Problem, trace};
use database::Pool;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager as _};
use envelope::Fact;
use outbox::Attribution;
use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use crate::app::App;
use crate::cached;
use crate::call::Call;
use crate::checkout::Checkout;
use crate::read::observed;
use crate::trouble::Trouble;

/// What was decided in a transaction: the answer, and the facts that make the decision known. There is no way to have
/// the one without the other.
pub(crate) struct Decided<T> {
    answer: T,
    facts: Vec<Fact>,
}

impl<T> Decided<T> {
    /// `facts` states each new version of an aggregate that the transaction wrote, once.
    pub(crate) fn new(answer: T, facts: impl Into<Vec<Fact>>) -> Decided<T> {
        Decided {
            answer,
            facts: facts.into(),
        }
    }

    /// Nothing was written.
    pub(crate) fn unchanged(answer: T) -> Decided<T> {
        Decided {
            answer,
            facts: Vec::new(),
        }
    }
}

/// How long COMMIT may take before its outcome counts as unknown.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// How long a caller waits for the cache to hear of its write.
const INVALIDATION_LIMIT: Duration = Duration::from_millis(20);

/// Lets `decide` read and write in one transaction, appends the facts to it, and commits. Then the cache forgets what is
/// older, and the relay wakes up. A refusal, an error or the caller's deadline before the commit leave nothing behind.
pub(crate) async fn write<T>(
    app: &App,
    call: &Call,
    decide: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<Decided<T>, Problem>,
) -> Result<T, Problem> {
    let proposing = call.within(propose(&app.pool, call, decide));
    let (conn, decided) = observed("transaction", proposing).await??;
    // In a task of its own, which a caller that hangs up does not take along: between COMMIT and invalidation lies a
    // stale cache.
    let finishing = finish(app.clone(), conn, decided.facts).in_current_span();
    tokio::spawn(finishing)
        .await
        .unwrap_or_else(|panicked| Err(Problem::internal(panicked)))?;
    Ok(decided.answer)
}

/// Everything up to COMMIT. When this is cancelled, the connection is closed, and PostgreSQL rolls back.
async fn propose<T>(
    pool: &Pool,
    call: &Call,
    decide: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<Decided<T>, Problem>,
) -> Result<(Checkout, Decided<T>), Problem> {
    let mut conn = Checkout::of(pool).await?;
    AnsiTransactionManager::begin_transaction(&mut *conn)
        .await
        .map_err(Trouble::from)?;
    let decided = async {
        let decided = decide(&mut conn).await?;
        let traceparent = trace::traceparent(&Span::current());
        let by = Attribution {
            actor: &call.caller.principal,
            traceparent: traceparent.as_deref(),
        };
        outbox::append_in_txn(&mut conn, &by, &decided.facts)
            .await
            .map_err(Trouble::from)?;
        Ok(decided)
    }
    .await;
    match decided {
        Ok(decided) => Ok((conn, decided)),
        Err(refusal) => {
            match AnsiTransactionManager::rollback_transaction(&mut *conn).await {
                Ok(()) => conn.give_back(),
                Err(error) => tracing::debug!(%error, "could not roll back; the connection is closed"),
            }
            Err(refusal)
        }
    }
}

async fn finish(app: App, mut conn: Checkout, facts: Vec<Fact>) -> Result<(), Problem> {
    let committing = AnsiTransactionManager::commit_transaction(&mut *conn);
    match timeout(COMMIT_LIMIT, observed("commit", committing)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(outcome_unknown().caused_by(error)),
        Err(late) => return Err(outcome_unknown().caused_by(late)),
    }
    // Others may need it while this waits for Redis.
    conn.give_back();
    if facts.is_empty() {
        return Ok(());
    }
    app.wake.wake();
    // A task of its own: only the waiting is bounded, the attempt goes on.
    let invalidating = async move {
        let versions = facts
            .iter()
            .map(|fact| (fact.aggregate_type, fact.aggregate_id, fact.aggregate_version));
        cached::invalidate(&app.products, versions).await;
    }
    .in_current_span();
    if timeout(INVALIDATION_LIMIT, tokio::spawn(invalidating))
        .await
        .is_err()
    {
        tracing::warn!(
            "the cache did not hear of a write in time; until it does, it serves the version before"
        );
    }
    Ok(())
}

/// COMMIT was sent and not acknowledged.
fn outcome_unknown() -> Problem {
    Problem::new(500u16, "outcome-unknown", "the outcome is unknown")
        .detail("the change may have been made or not; read before trying again")
}
