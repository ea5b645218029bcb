//! Stating every aggregate anew: how a consumer starts without history, and how everyone converges on a database that
//! was restored.

use std::time::Duration;

use anyhow::Context as _;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager as _};
use uuid::Uuid;

use crate::aggregates::{Aggregates, Table};
use crate::append::{Attribution, append_in_txn};
use crate::history::HISTORY;

/// Aggregates a transaction: their rows are locked that long.
const CHUNK: i64 = 200;
/// A chunk that met a lock or a deadlock is tried again.
const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
const BY: Attribution<'_> = Attribution {
    actor: "system:restate",
    traceparent: None,
};

/// Versions of generation g are g × 2^40 + 1, + 2, …
const GENERATION: i64 = 1 << 40;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Opens the next generation: the history that the database knows now is the one that counts, whatever others
/// remember. The tails go on from here.
pub(crate) async fn open_generation(conn: &mut AsyncPgConnection) -> anyhow::Result<i64> {
    // The cursors' counters go beyond everything that anyone can remember. A cursor that lies ahead of the database (it was loaded from
    // a dump) begins anew, which delivers every row that is left.
    let sql = format!(
        "WITH opened AS (
             UPDATE outbox_generation AS known
             SET generation = generation + 1, system_identifier = here.system_identifier, timeline = here.timeline
             FROM ({HISTORY}) AS here RETURNING known.generation
         ), moved AS (
             UPDATE outbox_cursor AS cursor
             SET saves = greatest(saves, opened.generation * {GENERATION}),
                 epoch = epoch + 1, owner = NULL, lease_until = '-infinity',
                 s1 = CASE WHEN ahead THEN '1:1:' ELSE s1 END, h = CASE WHEN ahead THEN 0 ELSE h END,
                 s2 = CASE WHEN ahead THEN NULL ELSE s2 END, h2 = CASE WHEN ahead THEN 0 ELSE h2 END,
                 last = CASE WHEN ahead THEN 0 ELSE last END
             FROM opened, (SELECT sink, pg_snapshot_xmax(s1) > pg_snapshot_xmax(pg_current_snapshot()) AS ahead
                           FROM outbox_cursor) AS place
             WHERE place.sink = cursor.sink RETURNING 1
         )
         SELECT generation AS number FROM opened"
    );
    let opened: Number = sql_query(sql)
        .get_result(conn)
        .await
        .context("cannot open a generation")?;
    Ok(opened.number)
}

/// States that no commit was lost when the database moved to another server or timeline; the tails go on.
pub(crate) async fn resume(conn: &mut AsyncPgConnection) -> anyhow::Result<()> {
    // A million saves are days of them: beyond what a process or a cache can remember of the time before.
    let sql = format!(
        "WITH known AS (
             UPDATE outbox_generation AS known
             SET system_identifier = here.system_identifier, timeline = here.timeline
             FROM ({HISTORY}) AS here RETURNING 1)
         UPDATE outbox_cursor SET saves = saves + 1000000 FROM known"
    );
    sql_query(sql)
        .execute(conn)
        .await
        .context("cannot resume the tails")?;
    Ok(())
}

/// Raises the version of every aggregate of `table` and appends a fact with its state; returns how many those were.
/// `progress` is told after each chunk.
pub(crate) async fn restate<A: Aggregates>(
    conn: &mut AsyncPgConnection,
    aggregates: &A,
    table: &Table,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let generation: Number = sql_query("SELECT generation AS number FROM outbox_generation")
        .get_result(conn)
        .await?;
    let floor = generation.number * GENERATION + 1;
    let (mut restated, mut after) = (0, Uuid::nil());
    loop {
        let ids = patiently(conn, aggregates, table, after, floor).await?;
        let Some(last) = ids.last() else {
            return Ok(restated);
        };
        after = *last;
        restated += ids.len() as u64;
        progress(restated);
    }
}

async fn patiently<A: Aggregates>(
    conn: &mut AsyncPgConnection,
    aggregates: &A,
    table: &Table,
    after: Uuid,
    floor: i64,
) -> anyhow::Result<Vec<Uuid>> {
    let mut attempt = 1;
    loop {
        AnsiTransactionManager::begin_transaction(conn).await?;
        let error = match chunk_in_txn(conn, aggregates, table, after, floor).await {
            Ok(ids) => {
                AnsiTransactionManager::commit_transaction(conn).await?;
                return Ok(ids);
            }
            Err(error) => error.context(format!("cannot restate the {} after {after}", table.aggregate)),
        };
        AnsiTransactionManager::rollback_transaction(conn).await?;
        if attempt == ATTEMPTS {
            return Err(error);
        }
        tracing::warn!(attempt, error = format!("{error:#}"), error.type = "database", "trying a chunk again");
        attempt += 1;
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// The ids of the aggregates that it restated, in order; none at the end.
async fn chunk_in_txn<A: Aggregates>(
    conn: &mut AsyncPgConnection,
    aggregates: &A,
    table: &Table,
    after: Uuid,
    floor: i64,
) -> anyhow::Result<Vec<Uuid>> {
    #[derive(QueryableByName)]
    struct Raised {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
    }
    let Table { name, id, .. } = table;
    let sql = format!(
        "WITH next AS MATERIALIZED (
             SELECT {id} AS id FROM {name} WHERE {id} > $1 ORDER BY {id} LIMIT {CHUNK} FOR NO KEY UPDATE
         )
         UPDATE {name} SET version = greatest(version + 1, $2) FROM next WHERE {name}.{id} = next.id
         RETURNING next.id"
    );
    let raised: Vec<Raised> = sql_query(sql)
        .bind::<SqlUuid, _>(after)
        .bind::<BigInt, _>(floor)
        .load(conn)
        .await?;
    let mut ids: Vec<Uuid> = raised.into_iter().map(|row| row.id).collect();
    ids.sort_unstable();
    let facts = aggregates.restated_in_txn(conn, table, &ids).await?;
    append_in_txn(conn, &BY, &facts).await?;
    Ok(ids)
}
