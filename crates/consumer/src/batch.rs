//! One batch, one transaction: lock the position, apply, park what is poison, advance, commit.

use std::time::Duration;

use diesel_async::pooled_connection::deadpool::PoolError;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager};

use crate::partition::{Fetched, Partition};
use crate::record::{ApplyError, Handler, OnPoison, Raw, Record, Undecodable};
use crate::{poison, position};

type Transaction = AnsiTransactionManager;

/// Records of one partition, in order, decoded once however often the batch is tried.
pub(crate) struct Batch<E> {
    /// Where the fetch of the first record began.
    from: i64,
    /// After the last record.
    end: i64,
    size: usize,
    events: Vec<Record<E>>,
    malformed: Vec<(Raw, String)>,
    /// The first record that a newer release wrote.
    newer: Option<(Raw, String)>,
}

/// How a transaction ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied {
        next: i64,
        /// Records below the position.
        duplicates: usize,
        /// Offsets that went to `dead_letter`.
        parked: Vec<i64>,
    },
    /// The position is below the batch: nothing was applied, and what lies between must be fetched again.
    Ahead { next: i64 },
}

/// Why the partition has to wait. Never a reason to skip a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stuck {
    #[error("newer than this release: {0}")]
    Newer(String),
    #[error("a record cannot be applied and this consumer parks none: {0}")]
    Poison(String),
    #[error("no database connection: {0}")]
    Pool(#[from] PoolError),
    #[error("database: {0}")]
    Database(#[from] diesel::result::Error),
    #[error("handler: {0:#}")]
    Handler(anyhow::Error),
    #[error("the batch took longer than {0:?}")]
    Deadline(Duration),
}

impl Stuck {
    /// One word for it: the `error.type` of logs and spans.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Stuck::Newer(_) => "newer",
            Stuck::Poison(_) => "poison",
            Stuck::Pool(_) => "pool",
            Stuck::Database(_) => "database",
            Stuck::Handler(_) => "handler",
            Stuck::Deadline(_) => "timeout",
        }
    }
}

impl<E: crate::Decode> Batch<E> {
    /// Decodes; `fetched` is not empty and in order.
    pub(crate) fn read(fetched: Vec<Fetched>) -> Batch<E> {
        let mut batch = Batch {
            from: fetched.first().map_or(0, |first| first.from),
            end: fetched.last().map_or(0, |last| last.raw.offset + 1),
            size: fetched.len(),
            events: Vec::with_capacity(fetched.len()),
            malformed: Vec::new(),
            newer: None,
        };
        for Fetched { raw, .. } in fetched {
            match E::decode(&raw) {
                Ok(event) => batch.events.push(Record { raw, event }),
                Err(Undecodable::Malformed(reason)) => batch.malformed.push((raw, reason)),
                Err(Undecodable::Newer(reason)) if batch.newer.is_none() => {
                    batch.newer = Some((raw, reason));
                }
                Err(Undecodable::Newer(_)) => {}
            }
        }
        batch
    }

    pub(crate) fn first(&self) -> &Raw {
        let events = self.events.iter().map(|record| &record.raw);
        let malformed = self.malformed.iter().map(|(raw, _)| raw);
        let newer = self.newer.iter().map(|(raw, _)| raw);
        events
            .chain(malformed)
            .chain(newer)
            .min_by_key(|raw| raw.offset)
            .expect("a batch is never empty")
    }
}

/// Runs the transaction. After an error nothing of it remains, except that a failed COMMIT may have happened; the next try's look at
/// the position tells.
pub(crate) async fn commit<H: Handler>(
    handler: &H,
    conn: &mut AsyncPgConnection,
    partition: &Partition,
    batch: &Batch<H::Event>,
) -> Result<Outcome, Stuck> {
    Transaction::begin_transaction(conn).await?;
    match apply_in_txn(handler, conn, partition, batch).await {
        Ok(outcome) => {
            Transaction::commit_transaction(conn).await?;
            Ok(outcome)
        }
        Err(stuck) => {
            // If this fails, the connection is broken and the pool discards it; `stuck` is what matters.
            let _ = Transaction::rollback_transaction(conn).await;
            Err(stuck)
        }
    }
}

async fn apply_in_txn<H: Handler>(
    handler: &H,
    conn: &mut AsyncPgConnection,
    partition: &Partition,
    batch: &Batch<H::Event>,
) -> Result<Outcome, Stuck> {
    let next = position::lock_in_txn(conn, &partition.topic, partition.number).await?;
    if batch.from > next {
        return Ok(Outcome::Ahead { next });
    }
    if let Some((raw, reason)) = &batch.newer
        && raw.offset >= next
    {
        return Err(Stuck::Newer(reason.clone()));
    }

    let events = &batch.events[batch.events.partition_point(|event| event.raw.offset < next)..];
    let malformed = &batch.malformed[batch.malformed.partition_point(|(raw, _)| raw.offset < next)..];
    let mut parked = Vec::new();
    for (raw, reason) in malformed {
        park_in_txn::<H>(conn, raw, reason, &mut parked).await?;
    }
    if !events.is_empty() && try_in_savepoint(handler, conn, events).await?.is_some() {
        // One of them is poison; alone, each shows whether it is the one.
        for event in events {
            if let Some(reason) = try_in_savepoint(handler, conn, std::slice::from_ref(event)).await? {
                park_in_txn::<H>(conn, &event.raw, &reason, &mut parked).await?;
            }
        }
    }

    let advanced = next.max(batch.end);
    if advanced > next {
        position::advance_in_txn(conn, &partition.topic, partition.number, advanced).await?;
    }
    Ok(Outcome::Applied {
        next: advanced,
        duplicates: batch.size - events.len() - malformed.len(),
        parked,
    })
}

/// Applies in a savepoint, so that what a poisonous event did before it failed is undone and the transaction goes on.
/// Returns the reason if it is poison.
async fn try_in_savepoint<H: Handler>(
    handler: &H,
    conn: &mut AsyncPgConnection,
    events: &[Record<H::Event>],
) -> Result<Option<String>, Stuck> {
    Transaction::begin_transaction(conn).await?;
    let error = match handler.apply_in_txn(conn, events).await {
        Ok(()) => {
            Transaction::commit_transaction(conn).await?;
            return Ok(None);
        }
        Err(error) => error,
    };
    let rolled_back = Transaction::rollback_transaction(conn).await;
    match poison::permanent(&error) {
        Some(reason) => {
            rolled_back?;
            Ok(Some(reason))
        }
        None => Err(match error {
            ApplyError::Database(error) => Stuck::Database(error),
            ApplyError::Other(error) => Stuck::Handler(error),
            ApplyError::Permanent(reason) => Stuck::Poison(reason),
        }),
    }
}

async fn park_in_txn<H: Handler>(
    conn: &mut AsyncPgConnection,
    raw: &Raw,
    reason: &str,
    parked: &mut Vec<i64>,
) -> Result<(), Stuck> {
    match H::ON_POISON {
        OnPoison::Pause => Err(Stuck::Poison(reason.to_owned())),
        OnPoison::Park => {
            poison::park_in_txn(conn, raw, reason).await?;
            parked.push(raw.offset);
            Ok(())
        }
    }
}
