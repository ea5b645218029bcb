//! Whose a tail is, and how far it has come: the row of `outbox_cursor`.
//!
//! The database's clock decides when a lease is over. Every write of the owner compares the
//! epoch, which each acquisition raises, so that an owner that was stopped, cut off or replaced
//! changes nothing any more, however late it wakes up.

use std::time::Duration;

use anyhow::Context as _;
use database::prepared;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::history::{HISTORY, NOT_HALTED};
use crate::window::Cursor;

/// How long an owner owns without renewing. An owner that dies is replaced within this and a second.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// Each renewal leaves a dead version of the row, so they are rare.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How long one statement may take before the connection counts as lost.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(2);

/// A sink's row as anybody sees it.
#[derive(Debug, QueryableByName)]
pub(crate) struct Seen {
    /// Nobody's, or this owner's from before.
    #[diesel(sql_type = Bool)]
    pub(crate) free: bool,
    #[diesel(sql_type = BigInt)]
    pub(crate) saves: i64,
    /// Server and timeline are those that the cursors belong to.
    #[diesel(sql_type = Bool)]
    pub(crate) same_history: bool,
    /// The cursor lies after everything that the database knows.
    #[diesel(sql_type = Bool)]
    pub(crate) ahead: bool,
}

pub(crate) async fn look(conn: &mut AsyncPgConnection, sink: &str, owner: &str) -> QueryResult<Seen> {
    let sql = format!(
        "SELECT cursor.lease_until <= clock_timestamp() OR cursor.owner IS NOT DISTINCT FROM $2 AS free,
                cursor.saves,
                (here.system_identifier, here.timeline) = (known.system_identifier, known.timeline)
                    AS same_history,
                pg_snapshot_xmax(cursor.s1) > pg_snapshot_xmax(pg_current_snapshot()) AS ahead
         FROM outbox_cursor AS cursor, outbox_generation AS known, ({HISTORY}) AS here
         WHERE cursor.sink = $1"
    );
    let query = sql_query(sql).bind::<Text, _>(sink).bind::<Text, _>(owner);
    prepared(query).get_result(conn).await
}

/// What the owner got with the lease.
#[derive(Debug)]
pub(crate) struct Lease {
    sink: &'static str,
    pub(crate) epoch: i64,
    /// How often the cursor has been saved.
    pub(crate) saves: i64,
    /// The sink's store when the cursor was saved.
    pub(crate) store: Option<String>,
}

#[derive(QueryableByName)]
struct Acquired {
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = BigInt)]
    saves: i64,
    #[diesel(sql_type = Nullable<Text>)]
    store: Option<String>,
    #[diesel(embed)]
    cursor: Cursor,
}

/// Where the sink's tail stands, and the database's clock.
pub(crate) async fn standing(
    conn: &mut AsyncPgConnection,
    sink: &str,
) -> QueryResult<(Cursor, OffsetDateTime)> {
    #[derive(QueryableByName)]
    struct Standing {
        #[diesel(sql_type = Timestamptz)]
        now: OffsetDateTime,
        #[diesel(embed)]
        cursor: Cursor,
    }
    let row: Standing = sql_query(format!(
        "SELECT clock_timestamp() AS now, {CURSOR} FROM outbox_cursor WHERE sink = $1"
    ))
    .bind::<Text, _>(sink)
    .get_result(conn)
    .await?;
    Ok((row.cursor, row.now))
}

const CURSOR: &str = "s1::text, h, s2::text, h2, last";

/// Takes the lease if it is over, with the position that was saved; `None` while it is another's.
pub(crate) async fn acquire(
    conn: &mut AsyncPgConnection,
    sink: &'static str,
    owner: &str,
) -> QueryResult<Option<(Lease, Cursor)>> {
    let sql = format!(
        "UPDATE outbox_cursor
         SET owner = $2, epoch = epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE sink = $1 AND (lease_until <= clock_timestamp() OR owner IS NOT DISTINCT FROM $2)
         RETURNING epoch, saves, store, {CURSOR}"
    );
    let acquired: Option<Acquired> = sql_query(sql)
        .bind::<Text, _>(sink)
        .bind::<Text, _>(owner)
        .bind::<Double, _>(LEASE.as_secs_f64())
        .get_result(conn)
        .await
        .optional()?;
    Ok(acquired.map(|row| {
        let lease = Lease {
            sink,
            epoch: row.epoch,
            saves: row.saves,
            store: row.store,
        };
        (lease, row.cursor)
    }))
}

/// Another owner's epoch has begun, or the tails were stopped.
#[derive(Debug, thiserror::Error)]
#[error("the lease is no longer this owner's")]
pub(crate) struct Replaced;

impl Lease {
    /// Saves the whole cursor, which renews the lease as well.
    pub(crate) async fn save(&mut self, conn: &mut AsyncPgConnection, cursor: &Cursor) -> anyhow::Result<()> {
        let saved = sql_query(format!(
            "UPDATE outbox_cursor
             SET s1 = $3::pg_snapshot, h = $4, s2 = $5::pg_snapshot, h2 = $6, last = $7, store = $8,
                 saves = saves + 1, lease_until = clock_timestamp() + make_interval(secs => $9)
             WHERE sink = $1 AND epoch = $2 AND {NOT_HALTED}"
        ))
        .bind::<Text, _>(self.sink)
        .bind::<BigInt, _>(self.epoch)
        .bind::<Text, _>(&cursor.s1)
        .bind::<BigInt, _>(cursor.h)
        .bind::<Nullable<Text>, _>(cursor.s2.as_deref())
        .bind::<BigInt, _>(cursor.h2)
        .bind::<BigInt, _>(cursor.last)
        .bind::<Nullable<Text>, _>(self.store.as_deref())
        .bind::<Double, _>(LEASE.as_secs_f64())
        .execute(conn)
        .await?;
        if saved == 0 {
            return Err(Replaced.into());
        }
        self.saves += 1;
        Ok(())
    }

    /// Renews until that is refused or has been impossible for as long as the lease lasts; returns why. It has a
    /// connection of its own, because the tail's waits for pages.
    pub(crate) async fn keep(sink: &'static str, epoch: i64, mut conn: AsyncPgConnection) -> anyhow::Error {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let renewing = sql_query(format!(
                "UPDATE outbox_cursor SET lease_until = clock_timestamp() + make_interval(secs => $3)
                 WHERE sink = $1 AND epoch = $2 AND {NOT_HALTED}"
            ))
            .bind::<Text, _>(sink)
            .bind::<BigInt, _>(epoch)
            .bind::<Double, _>(LEASE.as_secs_f64())
            .execute(&mut conn);
            match timeout(STATEMENT_LIMIT, renewing).await {
                Ok(Ok(1)) => renewed = Instant::now(),
                Ok(Ok(_)) => return Replaced.into(),
                Ok(Err(error)) => return anyhow::Error::new(error).context("cannot renew the lease"),
                Err(_) if renewed.elapsed() > LEASE => {
                    return anyhow::anyhow!("the lease could not be renewed for {LEASE:?}");
                }
                Err(_) => {}
            }
        }
    }

    /// Gives the lease back, so that the next owner needn't wait until it is over.
    pub(crate) async fn release(self, conn: &mut AsyncPgConnection) -> anyhow::Result<()> {
        sql_query(
            "UPDATE outbox_cursor SET owner = NULL, lease_until = '-infinity' WHERE sink = $1 AND epoch = $2",
        )
        .bind::<Text, _>(self.sink)
        .bind::<BigInt, _>(self.epoch)
        .execute(conn)
        .await
        .context("cannot release the lease")?;
        Ok(())
    }

    /// Keeps the cursor's position as one to rewind to, and drops those that no row is left for.
    pub(crate) async fn remember(
        &self,
        conn: &mut AsyncPgConnection,
        cursor: &Cursor,
        rows_are_kept: Duration,
    ) -> QueryResult<()> {
        sql_query(
            "WITH old AS (
                 DELETE FROM outbox_rewind_point
                 WHERE sink = $1 AND taken_at < clock_timestamp() - make_interval(secs => $4))
             INSERT INTO outbox_rewind_point (sink, s1, h) VALUES ($1, $2::pg_snapshot, $3)",
        )
        .bind::<Text, _>(self.sink)
        .bind::<Text, _>(&cursor.s1)
        .bind::<BigInt, _>(cursor.h)
        .bind::<Double, _>(rows_are_kept.as_secs_f64())
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Goes back to the newest rewind point from before `memory` ago and saves it together with
    /// the new `store`, before anything is delivered there.
    pub(crate) async fn rewind(
        &mut self,
        conn: &mut AsyncPgConnection,
        cursor: &Cursor,
        store: String,
        memory: Duration,
    ) -> anyhow::Result<Cursor> {
        let point = point_before(conn, self.sink, memory).await?;
        // A tail that lags, or was moved back by a replay, may stand before that point already.
        let back = match point {
            Some(point) if crate::window::xmax(&point.s1) <= crate::window::xmax(&cursor.s1) => Cursor {
                s1: point.s1,
                h: point.h,
                ..Cursor::start()
            },
            Some(_) => Cursor {
                s1: cursor.s1.clone(),
                h: cursor.h,
                ..Cursor::start()
            },
            None => Cursor::start(),
        };
        self.store = Some(store);
        self.save(conn, &back).await?;
        Ok(back)
    }
}

#[derive(QueryableByName)]
pub(crate) struct Point {
    #[diesel(sql_type = Text)]
    pub(crate) s1: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) h: i64,
}

/// The newest position that was taken more than `ago` ago. Whatever is committed after that lies behind it.
pub(crate) async fn point_before(
    conn: &mut AsyncPgConnection,
    sink: &str,
    ago: Duration,
) -> QueryResult<Option<Point>> {
    sql_query(
        "SELECT s1::text, h FROM outbox_rewind_point
         WHERE sink = $1 AND taken_at < clock_timestamp() - make_interval(secs => $2)
         ORDER BY taken_at DESC LIMIT 1",
    )
    .bind::<Text, _>(sink)
    .bind::<Double, _>(ago.as_secs_f64())
    .get_result(conn)
    .await
    .optional()
}
