//! Idempotency keys: a POST that is repeated is answered again, and nothing is done again.
//!
//! A key belongs to a principal and to one request. Its row is inserted first in the transaction of the effect, where
//! the unique index makes a second use of the key wait for the outcome of the first, and gets the answer before COMMIT.
//! A committed row therefore always has its answer, and an effect without one does not exist.

use std::time::Duration;

use database::prepared;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Double};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::answer::{Answer, Stored};
use crate::checkout::Pool;
use crate::schema::idempotency_key as table;
use crate::trouble::{self, Trouble};

/// A use of a key.
pub(crate) struct Use<'a> {
    pub(crate) principal: &'a str,
    pub(crate) key: &'a str,
    /// Of the request.
    pub(crate) fingerprint: [u8; 32],
}

/// What a use of a key has led to.
pub(crate) enum Claim {
    /// The key is this transaction's.
    Fresh,
    /// The request was answered before, so.
    Answered(Answer),
    /// It was used for another request.
    OfAnother,
    /// The first use did not end in time. The transaction is broken.
    InUse,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = table, check_for_backend(diesel::pg::Pg))]
struct Row {
    fingerprint: Vec<u8>,
    status: Option<i16>,
    location: Option<String>,
    etag: Option<String>,
    body: Option<Vec<u8>>,
}

/// Between the look at a row and the next, its 24 hours may end.
const ATTEMPTS: usize = 3;

impl Use<'_> {
    /// Waits for a running first use, as long as any statement here waits for a lock: 2 seconds.
    pub(crate) async fn claim_in_txn(&self, conn: &mut AsyncPgConnection) -> Result<Claim, Trouble> {
        let claim = self.try_claim_in_txn(conn).await?;
        let result = match claim {
            Claim::Fresh => "fresh",
            Claim::Answered(_) => "answered",
            Claim::OfAnother => "of_another",
            Claim::InUse => "in_use",
        };
        metrics::counter!("idempotency_claims_total", "result" => result).increment(1);
        Ok(claim)
    }

    async fn try_claim_in_txn(&self, conn: &mut AsyncPgConnection) -> Result<Claim, Trouble> {
        for _ in 0..ATTEMPTS {
            match self.insert_in_txn(conn).await {
                Ok(true) => return Ok(Claim::Fresh),
                Ok(false) => {}
                Err(error) if trouble::is_lock_timeout(&error) => return Ok(Claim::InUse),
                Err(error) => return Err(error.into()),
            }
            if let Some(row) = self.find_in_txn(conn).await? {
                return self.judge(row);
            }
        }
        Err(self.corrupt("it comes and goes"))
    }

    async fn insert_in_txn(&self, conn: &mut AsyncPgConnection) -> Result<bool, DieselError> {
        let inserted = diesel::insert_into(table::table)
            .values((
                table::principal.eq(self.principal),
                table::key.eq(self.key),
                table::fingerprint.eq(self.fingerprint.as_slice()),
            ))
            .on_conflict_do_nothing()
            .execute(conn)
            .await?;
        Ok(inserted == 1)
    }

    async fn find_in_txn(&self, conn: &mut AsyncPgConnection) -> Result<Option<Row>, DieselError> {
        table::table
            .find((self.principal, self.key))
            .select(Row::as_select())
            .first(conn)
            .await
            .optional()
    }

    fn judge(&self, row: Row) -> Result<Claim, Trouble> {
        if row.fingerprint != self.fingerprint {
            return Ok(Claim::OfAnother);
        }
        let (Some(status), Some(body)) = (row.status, row.body) else {
            return Err(self.corrupt("it has no answer"));
        };
        let stored = Stored {
            status,
            location: row.location,
            etag: row.etag,
            body,
        };
        let answer = Answer::restored(stored).ok_or_else(|| self.corrupt("its status is none"))?;
        Ok(Claim::Answered(answer))
    }

    /// Of a key that this transaction has claimed.
    pub(crate) async fn store_in_txn(
        &self,
        mut conn: &AsyncPgConnection,
        answer: &Answer,
    ) -> Result<(), Trouble> {
        let stored = answer.to_stored();
        let update = diesel::update(table::table.find((self.principal, self.key))).set((
            table::status.eq(stored.status),
            table::location.eq(stored.location),
            table::etag.eq(stored.etag),
            table::body.eq(stored.body),
        ));
        let updated = prepared(update).execute(&mut conn).await?;
        if updated != 1 {
            return Err(self.corrupt("it was claimed and is gone"));
        }
        Ok(())
    }

    fn corrupt(&self, why: &str) -> Trouble {
        Trouble::Corrupt {
            table: "idempotency_key",
            why: why.to_owned(),
        }
    }
}

/// How long a key is kept at least.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The most rows that one statement deletes, so that none runs long and no lock is held long.
const CHUNK: usize = 1_000;

/// Deletes keys that are older than 24 hours, every `interval`, for as long as it is polled. Every replica does; they
/// pass over each other's rows.
pub(crate) async fn sweep(pool: Pool, interval: Duration) {
    metrics::describe_counter!(
        "idempotency_claims_total",
        "Uses of idempotency keys by what they led to: a fresh claim, the stored answer, or a refusal"
    );
    loop {
        tokio::time::sleep(interval).await;
        // Until a chunk is not full.
        loop {
            match delete_chunk(&pool).await {
                Ok(CHUNK) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, error.type = "database", "old idempotency keys were not deleted; the next round tries again");
                    break;
                }
            }
        }
    }
}

const DELETE: &str = "\
DELETE FROM idempotency_key
USING (
    SELECT principal, key
    FROM idempotency_key
    WHERE created_at < now() - make_interval(secs => $1)
    ORDER BY created_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS old
WHERE idempotency_key.principal = old.principal AND idempotency_key.key = old.key";

/// How many rows it deleted.
async fn delete_chunk(pool: &Pool) -> Result<usize, Trouble> {
    pool.with(async |conn| {
        let delete = sql_query(DELETE)
            .bind::<Double, _>(KEPT.as_secs_f64())
            .bind::<BigInt, _>(CHUNK as i64);
        Ok(delete.execute(conn).await?)
    })
    .await
}
