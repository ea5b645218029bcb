//! Deleting what every sink has had for long enough.

use std::time::Duration;

use diesel::sql_types::{BigInt, Double, Integer};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::backoff::{Backoff, Stop};

/// Rows a transaction; the function refuses more.
const CHUNK: i32 = 5_000;
const EVERY: Duration = Duration::from_secs(60);
/// Between full chunks, so that a large deletion leaves room for the vacuum and for everybody else.
const BETWEEN: Duration = Duration::from_millis(200);

/// Deletes rows that are older than `keep` and that every sink has had. Any number of replicas run it; one works at a time.
#[derive(Debug, Clone)]
pub struct Retention {
    /// As the role that may call `outbox_delete_published`.
    pub database: database::Access,
    /// Names the connection.
    pub source: &'static str,
    /// How long rows stay: as far back as a replay may go.
    pub keep: Duration,
}

impl Retention {
    /// Sweeps once a minute until `stop` completes.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let (told, mut stop) = Stop::after(stop);
        tokio::select! {
            () = self.work(&mut stop) => {}
            () = told => {}
        }
    }

    async fn work(&self, stop: &mut Stop) {
        let mut backoff = Backoff::new();
        while !stop.is_told() {
            match self.sweep(stop).await {
                Ok(deleted) => {
                    if deleted > 0 {
                        tracing::info!(rows = deleted, "deleted old rows of the outbox");
                    }
                    backoff.reset();
                    stop.pause(EVERY.mul_f64(rand::random_range(0.9..1.1))).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        error.type = "database",
                        "could not delete old rows of the outbox"
                    );
                    backoff.wait(stop).await;
                }
            }
        }
    }

    /// Deletes chunk by chunk until one isn't full.
    async fn sweep(&self, stop: &mut Stop) -> anyhow::Result<i64> {
        let mut conn = database::dedicated(&self.database, self.source).await?;
        let mut sum = 0;
        loop {
            let deleted = delete_chunk(&mut conn, self.keep, CHUNK).await?;
            metrics::counter!("outbox_deleted_rows_total").increment(deleted.unsigned_abs());
            sum += deleted;
            if deleted < i64::from(CHUNK) || stop.is_told() {
                return Ok(sum);
            }
            stop.pause(BETWEEN).await;
        }
    }
}

/// One transaction: at most `chunk` rows (up to 5,000) that are older than `keep` and visible in the saved S1 of every
/// sink. Returns how many were deleted; none while another replica is at it.
pub async fn delete_chunk(conn: &mut AsyncPgConnection, keep: Duration, chunk: i32) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Deleted {
        #[diesel(sql_type = BigInt)]
        deleted: i64,
    }
    let row: Deleted = sql_query("SELECT outbox_delete_published(make_interval(secs => $1), $2) AS deleted")
        .bind::<Double, _>(keep.as_secs_f64())
        .bind::<Integer, _>(chunk)
        .get_result(conn)
        .await?;
    Ok(row.deleted)
}
