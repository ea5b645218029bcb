//! Changing something: the only place that commits.

use std::time::{Duration, Instant};

use chassis::{Problem, trace};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager as _};
use envelope::Fact;
use futures_util::future::try_join;
use outbox::Attribution;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};
use tracing::Instrument as _;

use crate::answer::Answer;
use crate::app::App;
use crate::cached::{Change, Old};
use crate::call::Call;
use crate::checkout::{Checkout, Pool};
use crate::idempotency::{Claim, Use};
use crate::meters::InvalidationLag;
use crate::post::Post;
use crate::problems::{IDEMPOTENCY_KEY_IN_USE, IDEMPOTENCY_KEY_REUSED, OUTCOME_UNKNOWN};
use crate::step::{Step, timed};
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

/// A change that may be made again, such as one with a precondition. Lets `decide` read and write in one transaction,
/// appends the facts to it, and commits. Then the tails wake up, and the cache forgets what is older. A refusal, an
/// error or the caller's deadline before the commit leave nothing behind.
pub(crate) async fn write<T>(
    app: &App,
    call: &Call,
    decide: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<Decided<T>, Problem>,
) -> Result<T, Problem> {
    transact(app, call, async |conn| {
        let decided = timed(Step::Decide, decide(conn)).await?;
        append_in_txn(conn, call, &decided.facts).await?;
        Ok(decided)
    })
    .await
}

/// What a POST does, once for its idempotency key: like [`write`], and the answer is committed together with what it
/// speaks of. So is a refusal, after what was written before it has been rolled back; a repetition gets either again.
/// Only authentication, missing rights and what is wrong here (503 and the like) are decided anew each time.
///
/// Rights have been checked before: a stored answer is given to whoever repeats the request.
pub(crate) async fn write_once(
    app: &App,
    call: &Call,
    post: &Post,
    decide: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<Decided<Answer>, Problem>,
) -> Result<Answer, Problem> {
    let key = Use {
        principal: &call.caller.principal,
        key: post.key()?,
        fingerprint: post.fingerprint(),
    };
    transact(app, call, async |conn| {
        if let Some(answered) = claim_in_txn(conn, &key).await? {
            return Ok(Decided::unchanged(answered));
        }
        let decided = match timed(Step::Decide, decide(conn)).await {
            Ok(decided) => decided,
            Err(refusal) if is_final(&refusal) => {
                begin_again(conn).await?;
                // Another use of the key may have come between; then its outcome is the answer.
                if let Some(answered) = claim_in_txn(conn, &key).await? {
                    return Ok(Decided::unchanged(answered));
                }
                Decided::unchanged(Answer::refused(&refusal))
            }
            Err(problem) => return Err(problem),
        };
        let shared = &*conn;
        let storing = key.store_in_txn(shared, &decided.answer);
        try_join(append_in_txn(shared, call, &decided.facts), storing).await?;
        Ok(decided)
    })
    .await
}

/// `Some` is what the key's first use led to.
async fn claim_in_txn(conn: &mut AsyncPgConnection, key: &Use<'_>) -> Result<Option<Answer>, Problem> {
    match timed(Step::Idempotency, key.claim_in_txn(conn)).await? {
        Claim::Fresh => Ok(None),
        Claim::Answered(answer) => Ok(Some(answer)),
        Claim::OfAnother => Err(IDEMPOTENCY_KEY_REUSED.problem()),
        Claim::InUse => Err(IDEMPOTENCY_KEY_IN_USE.problem().retry_after(1)),
    }
}

/// Leaves nothing of what the transaction has done. A savepoint before each decision would do so as well, but every
/// write would pay for it, with a round trip and a transaction id of its own, so that the few that are refused don't.
async fn begin_again(conn: &mut AsyncPgConnection) -> Result<(), Trouble> {
    AnsiTransactionManager::rollback_transaction(conn).await?;
    Ok(AnsiTransactionManager::begin_transaction(conn).await?)
}

/// Whether a repetition of the request is to get this refusal again.
fn is_final(refusal: &Problem) -> bool {
    (400..500).contains(&refusal.status()) && !matches!(refusal.status(), 401 | 403 | 429)
}

async fn append_in_txn(conn: &AsyncPgConnection, call: &Call, facts: &[Fact]) -> Result<(), Trouble> {
    let traceparent = trace::current();
    let by = Attribution {
        actor: &call.caller.principal,
        traceparent: traceparent.as_deref(),
    };
    Ok(timed(Step::Outbox, outbox::append_in_txn(conn, &by, facts)).await?)
}

async fn transact<T>(
    app: &App,
    call: &Call,
    work: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<Decided<T>, Problem>,
) -> Result<T, Problem> {
    let proposing = call.within(propose(&app.pool, work));
    let proposing = proposing.instrument(database::span("transaction"));
    let (conn, decided) = database::measured("transaction", proposing).await??;
    // In a task of its own, which a caller that hangs up does not take along: between COMMIT and invalidation lies a
    // stale cache.
    let finishing = tokio::spawn(trace::carried(finish(app.clone(), conn, decided.facts)));
    let invalidating = match timeout_at(call.deadline, finishing).await {
        Ok(Ok(committed)) => committed?,
        Ok(Err(panicked)) => return Err(Problem::internal(panicked)),
        Err(late) => return Err(outcome_unknown().caused_by(late)),
    };
    // Committed: from here on nothing can make a failure of it.
    if let Some(invalidating) = invalidating {
        let waiting = timeout(INVALIDATION_LIMIT, invalidating);
        if timed(Step::Invalidate, waiting).await.is_err() {
            tracing::warn!(
                error.type = "timeout",
                "the cache did not hear of a write in time; until it does, it serves the version before"
            );
        }
    }
    Ok(decided.answer)
}

/// Everything up to COMMIT. When this is cancelled, the connection is closed, and PostgreSQL rolls back.
async fn propose<T>(
    pool: &Pool,
    work: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<Decided<T>, Problem>,
) -> Result<(Checkout, Decided<T>), Problem> {
    let mut conn = timed(Step::Pool, Checkout::of(pool)).await?;
    timed(Step::Begin, AnsiTransactionManager::begin_transaction(&mut *conn))
        .await
        .map_err(Trouble::from)?;
    match work(&mut conn).await {
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

/// Commits, and lets the cache hear of it in a task of its own, if it has to.
async fn finish(app: App, mut conn: Checkout, facts: Vec<Fact>) -> Result<Option<JoinHandle<()>>, Problem> {
    let committing = AnsiTransactionManager::commit_transaction(&mut *conn);
    let committing = timed(
        Step::Commit,
        database::observed("commit", |_| "database", committing),
    );
    match timeout(COMMIT_LIMIT, committing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(outcome_unknown().caused_by(error)),
        Err(late) => return Err(outcome_unknown().caused_by(late)),
    }
    conn.give_back();
    if facts.is_empty() {
        return Ok(None);
    }
    app.wake.wake();
    let Some(old) = Old::of(facts.iter().map(Change::of)) else {
        return Ok(None);
    };
    // The caller waits for a moment only; the attempt goes on.
    let committed = Instant::now();
    let invalidating = async move {
        if app.cached.invalidate(&old).await {
            InvalidationLag::by("inline").record(committed.elapsed().as_secs_f64());
        }
    };
    Ok(Some(tokio::spawn(trace::carried(invalidating))))
}

/// COMMIT was sent and not acknowledged.
fn outcome_unknown() -> Problem {
    OUTCOME_UNKNOWN.because("the change may have been made or not")
}
