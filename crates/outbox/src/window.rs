//! Reading the outbox by snapshot differences, one step at a time.
//!
//! From a snapshot S1 a later one, S2, is taken; the window is every row that is visible in S2
//! and was not in S1, read by id in pages. A row was not visible in S1 if its transaction began
//! after S1 (`xid >= xmax(S1)`: branch A) or was running then (`xid` in `xip(S1)`: branch B).
//!
//! Branch A starts at `h`, the id sequence's value from before S1, which is what makes a poll
//! cost only the new rows. That is sound because of [`open`]'s order: after reading the sequence
//! it burns a transaction id of its own, and takes the snapshot last. A transaction that S2 does
//! not know yet then has a later xid than the burnt one, and, since a row's xid is assigned
//! before its id is drawn, an id above `h2`. Without the burnt xid a writer could hold an id
//! below `h2` and an xid at or above `xmax(S2)`, which is the last *completed* xid plus one.
//!
//! [`Tail`](crate::Tail) puts these steps together. They are public for whoever has to read the
//! outbox in another way, and because the tests put them together wrongly.

use database::prepared;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;
use time::OffsetDateTime;

use crate::page::{COLUMNS, Page};

/// A reader's position: between the snapshots `s1` and `s2`, everything up to id `last` has been
/// delivered. `h` and `h2` are the id sequence's values from just before each snapshot.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Cursor {
    #[diesel(sql_type = Text)]
    pub s1: String,
    #[diesel(sql_type = BigInt)]
    pub h: i64,
    /// The end of the open window, if one is open.
    #[diesel(sql_type = Nullable<Text>)]
    pub s2: Option<String>,
    #[diesel(sql_type = BigInt)]
    pub h2: i64,
    #[diesel(sql_type = BigInt)]
    pub last: i64,
}

impl Cursor {
    /// Before everything.
    pub fn start() -> Cursor {
        Cursor {
            s1: "1:1:".to_owned(),
            h: 0,
            s2: None,
            h2: 0,
            last: 0,
        }
    }

    /// The position after `page`, all of which has been delivered; a page that ends the window
    /// closes it.
    pub fn after(&self, page: &Page) -> Cursor {
        let mut after = self.clone();
        after.last = page.last_id().unwrap_or(self.last);
        if page.ends_window()
            && let Some(s2) = after.s2.take()
        {
            after.s1 = s2;
            after.h = after.h2;
            // A row of the next window may have a lower id than the last of this one.
            after.last = 0;
        }
        after
    }
}

/// Rows that are visible in `S2` and not in `S1`, by id.
///
/// `(…) IS TRUE` keeps the planner on the primary key: with stale statistics it would take the
/// xid index and sort. The lateral with `ORDER BY xid, id` reads each open transaction's rows
/// in index order even while one of them is a bulk writer.
fn window_rows(columns: &str, s2: &str, limit: &str) -> String {
    format!(
        "SELECT {columns} FROM (
            (SELECT * FROM outbox
             WHERE id > greatest($3::bigint, $2::bigint)
               AND (xid >= pg_snapshot_xmax($1::pg_snapshot)) IS TRUE
               AND pg_visible_in_snapshot(xid, {s2})
             ORDER BY id LIMIT {limit})
            UNION ALL
            (SELECT open_row.*
             FROM pg_snapshot_xip($1::pg_snapshot) AS open (xid)
             CROSS JOIN LATERAL (
                 SELECT * FROM outbox
                 WHERE outbox.xid = open.xid AND id > $3::bigint
                   AND pg_visible_in_snapshot(outbox.xid, {s2})
                 ORDER BY outbox.xid, id LIMIT {limit}) AS open_row)
        ) AS page
        ORDER BY id LIMIT {limit}"
    )
}

/// What a look at the table without an open window found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Probe {
    /// The database's clock, read before the snapshot that the probe looked through.
    #[diesel(sql_type = Timestamptz)]
    pub at: OffsetDateTime,
    /// Whether anything was committed since S1.
    #[diesel(sql_type = diesel::sql_types::Bool)]
    pub found: bool,
}

/// Whether something was committed after `cursor.s1`; writes nothing. (Step 2.)
pub async fn probe(conn: &mut AsyncPgConnection, cursor: &Cursor) -> QueryResult<Probe> {
    // One statement looks through one snapshot. Its `now()` is the transaction's start, which
    // comes before that snapshot; `clock_timestamp()` and `statement_timestamp()` may come after.
    let sql = format!(
        "SELECT now() AS at, EXISTS ({}) AS found",
        window_rows("1", "pg_current_snapshot()", "1")
    );
    let query = sql_query(sql)
        .bind::<Text, _>(&cursor.s1)
        .bind::<BigInt, _>(cursor.h)
        .bind::<BigInt, _>(0);
    prepared(query).get_result(conn).await
}

/// Opens a window up to now, and returns the database's clock from before that. Three statements,
/// each its own transaction, in exactly this order (see the module's text). (Step 3.)
pub async fn open(conn: &mut AsyncPgConnection, cursor: &mut Cursor) -> QueryResult<OffsetDateTime> {
    let Sequence { at, value: h2 } = sequence(conn).await?;
    let burnt = burn_xid(conn).await?;
    let s2 = current_snapshot(conn).await?;
    if xmax(&s2).is_none_or(|xmax| xmax <= burnt) {
        let broken = format!("snapshot {s2} does not lie after xid {burnt}: is this the primary?");
        return Err(diesel::result::Error::QueryBuilderError(broken.into()));
    }
    cursor.h2 = h2;
    cursor.s2 = Some(s2);
    cursor.last = 0;
    Ok(at)
}

#[derive(QueryableByName)]
struct Sequence {
    #[diesel(sql_type = Timestamptz)]
    at: OffsetDateTime,
    #[diesel(sql_type = BigInt)]
    value: i64,
}

async fn sequence(conn: &mut AsyncPgConnection) -> QueryResult<Sequence> {
    let query =
        "SELECT now() AS at, CASE WHEN is_called THEN last_value ELSE 0 END AS value FROM outbox_id_seq";
    prepared(sql_query(query)).get_result(conn).await
}

/// The value that the id sequence has reached; 0 while it is unused, when `last_value` says 1.
pub async fn sequence_value(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    Ok(sequence(conn).await?.value)
}

/// Takes a transaction id and completes it. It writes no WAL that anyone would wait for.
pub async fn burn_xid(conn: &mut AsyncPgConnection) -> QueryResult<u64> {
    let xid = text(conn, "SELECT pg_current_xact_id()::text AS value").await?;
    xid.parse()
        .map_err(|error| diesel::result::Error::DeserializationError(Box::new(error)))
}

/// `xmin:xmax:xip,…`
pub async fn current_snapshot(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    text(conn, "SELECT pg_current_snapshot()::text AS value").await
}

async fn text(conn: &mut AsyncPgConnection, sql: &str) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Value {
        #[diesel(sql_type = Text)]
        value: String,
    }
    let row: Value = prepared(sql_query(sql)).get_result(conn).await?;
    Ok(row.value)
}

/// The next rows of the open window, by id, after `cursor.last`: at most `limit`, and no more
/// than it takes to reach `bytes` of payload. (Step 4.)
pub async fn page(
    conn: &mut AsyncPgConnection,
    cursor: &Cursor,
    limit: usize,
    bytes: usize,
) -> QueryResult<Page> {
    let sql = window_rows(COLUMNS, "$4::pg_snapshot", "$5");
    let query = sql_query(sql)
        .bind::<Text, _>(&cursor.s1)
        .bind::<BigInt, _>(cursor.h)
        .bind::<BigInt, _>(cursor.last)
        .bind::<Text, _>(cursor.s2.as_deref().unwrap_or(&cursor.s1))
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX));
    let mut rows = AsyncConnectionCore::load(conn, prepared(query)).await?;
    let mut page = Page::with_capacity(limit.min(256));
    while let Some(row) = rows.try_next().await? {
        page.push(row);
        if page.payload_bytes() >= bytes || page.len() == limit {
            // Those that were not read are discarded by the connection, and come with the next page.
            return Ok(page);
        }
    }
    page.end_window();
    Ok(page)
}

/// What a sink has not had yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Estimated from ids: those of transactions that rolled back count as well.
    pub(crate) rows: i64,
    /// When the first of them was written.
    pub(crate) oldest: OffsetDateTime,
}

/// What comes after `cursor`; `None`: nothing does.
pub(crate) async fn backlog(conn: &mut AsyncPgConnection, cursor: &Cursor) -> QueryResult<Option<Backlog>> {
    let mut cursor = cursor.clone();
    if cursor.s2.is_none() {
        cursor.s2 = Some(current_snapshot(conn).await?);
        cursor.last = 0;
    }
    let newest = sequence_value(conn).await?;
    let page = page(conn, &cursor, 1, usize::MAX).await?;
    Ok(page.rows().next().map(|first| Backlog {
        rows: newest - first.id() + 1,
        oldest: first.occurred_at(),
    }))
}

pub(crate) fn xmax(snapshot: &str) -> Option<u64> {
    snapshot.split(':').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmax_is_the_second_part_of_a_snapshot() {
        assert_eq!(xmax("10:20:10,14,15"), Some(20));
        assert_eq!(xmax("1:1:"), Some(1));
        assert_eq!(xmax("garbage"), None);
    }
}
