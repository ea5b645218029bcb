//! Whether every aggregate's version has its row.

use std::marker::PhantomData;
use std::time::Duration;

use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::aggregates::{Aggregates, Table};
use crate::backoff::{Backoff, Stop};

/// Aggregates a statement, and the pause between two.
const BATCH: i64 = 1_000;
const EVERY: Duration = Duration::from_secs(5);
/// How long a replica waits that finds another one at it.
const STANDBY: Duration = Duration::from_secs(60);

/// An aggregate whose version is not the newest that the outbox states.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Unstated {
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// The newest version that has a row; `None`: no version has one.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub stated: Option<i64>,
}

/// Goes through the aggregates again and again, slowly, and says which of them changed without a fact: something
/// committed past `append_in_txn`. Any number of replicas run it; one works at a time.
#[derive(Debug, Clone)]
pub struct Check<A> {
    database: database::Access,
    source: &'static str,
    aggregates: PhantomData<fn() -> A>,
}

impl<A: Aggregates> Check<A> {
    pub fn new(database: database::Access, source: &'static str) -> Check<A> {
        Check {
            database,
            source,
            aggregates: PhantomData,
        }
    }

    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let (told, mut stop) = Stop::after(stop);
        let work = async {
            let mut backoff = Backoff::new();
            while !stop.is_told() {
                match self.pass(&mut stop).await {
                    Ok(Pass::Made) => backoff.reset(),
                    Ok(Pass::Others) => {
                        backoff.reset();
                        stop.pause(STANDBY.mul_f64(rand::random_range(0.9..1.1))).await;
                    }
                    Err(error) => {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            error.type = "database",
                            "could not compare versions with the outbox"
                        );
                        backoff.wait(&mut stop).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = told => {}
        }
    }

    /// All tables once.
    async fn pass(&self, stop: &mut Stop) -> anyhow::Result<Pass> {
        let mut conn = database::dedicated(&self.database, self.source).await?;
        let mut found = 0_u32;
        if !is_the_only_one(&mut conn).await? {
            // The other's number counts; a sum over replicas must not hold an older one as well.
            metrics::gauge!("outbox_unstated_versions").set(0.0);
            return Ok(Pass::Others);
        }
        for table in A::TABLES {
            let mut after = Uuid::nil();
            loop {
                stop.pause(EVERY).await;
                if stop.is_told() {
                    return Ok(Pass::Made);
                }
                let (unstated, next) = unstated(&mut conn, table, after, BATCH).await?;
                for one in unstated {
                    found += 1;
                    tracing::error!(
                        error.type = "unstated_version",
                        aggregate = table.aggregate,
                        id = %one.id,
                        version = one.version,
                        stated = one.stated,
                        "a version was committed without its fact"
                    );
                }
                match next {
                    Some(next) => after = next,
                    None => break,
                }
            }
        }
        metrics::gauge!("outbox_unstated_versions").set(f64::from(found));
        Ok(Pass::Made)
    }
}

enum Pass {
    Made,
    /// Another replica is at it.
    Others,
}

/// Takes a lock that ends with the session.
async fn is_the_only_one(conn: &mut AsyncPgConnection) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Locked {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        locked: bool,
    }
    let row: Locked = sql_query("SELECT pg_try_advisory_lock(hashtextextended('outbox check', 0)) AS locked")
        .get_result(conn)
        .await?;
    Ok(row.locked)
}

/// Looks at up to `limit` aggregates by id, beginning after `after`. Returns those whose version has no row, and where
/// to go on; `None` at the end.
///
/// An aggregate without any row is reported only if its last change is younger than the oldest row that is kept.
pub async fn unstated(
    conn: &mut AsyncPgConnection,
    table: &Table,
    after: Uuid,
    limit: i64,
) -> QueryResult<(Vec<Unstated>, Option<Uuid>)> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(embed)]
        aggregate: Unstated,
        #[diesel(sql_type = diesel::sql_types::Bool)]
        wrong: bool,
    }
    let Table { name, id, .. } = table;
    // A row's xmin is its last writer's xid, or a later one of the same transaction; its age counts transactions since.
    // Ages are compared with a margin, because rows of one moment are deleted in another order than they were written.
    let sql = format!(
        "WITH kept AS MATERIALIZED (
             SELECT swept_to = 0 AS everything,
                    (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - xid::text::bigint
                     FROM outbox WHERE id > swept_to ORDER BY id LIMIT 1) AS age
             FROM outbox_retention
         ), batch AS MATERIALIZED (
             SELECT {id} AS id, version, age(xmin) AS age FROM {name} WHERE {id} > $1 ORDER BY {id} LIMIT $2
         )
         SELECT batch.id, batch.version, newest.version AS stated,
                CASE WHEN newest.version IS NULL
                     THEN kept.everything OR coalesce(batch.age BETWEEN 0 AND kept.age - 10000, false)
                     ELSE newest.version <> batch.version END AS wrong
         FROM batch CROSS JOIN kept LEFT JOIN LATERAL (
             SELECT aggregate_version AS version FROM outbox
             WHERE aggregate_id = batch.id AND aggregate_type = $3
             ORDER BY aggregate_version DESC LIMIT 1) AS newest ON true
         ORDER BY batch.id"
    );
    let rows: Vec<Row> = sql_query(sql)
        .bind::<SqlUuid, _>(after)
        .bind::<BigInt, _>(limit)
        .bind::<Text, _>(table.aggregate)
        .load(conn)
        .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|rows| rows == limit);
    let next = rows.last().filter(|_| full).map(|row| row.aggregate.id);
    let wrong = rows.into_iter().filter(|row| row.wrong);
    Ok((wrong.map(|row| row.aggregate).collect(), next))
}
