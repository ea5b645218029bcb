//! Reading the outbox by snapshot differences.
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

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use envelope::Envelope;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::cursor::Cursor;

/// One row of the outbox.
#[derive(Debug, QueryableByName)]
pub(crate) struct Row {
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    pub(crate) topic: String,
    #[diesel(sql_type = Binary)]
    pub(crate) key: Vec<u8>,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = SmallInt)]
    schema_version: i16,
    #[diesel(sql_type = Text)]
    aggregate_type: String,
    #[diesel(sql_type = SqlUuid)]
    aggregate_id: Uuid,
    #[diesel(sql_type = BigInt)]
    aggregate_version: i64,
    #[diesel(sql_type = Text)]
    actor: String,
    #[diesel(sql_type = Timestamptz)]
    pub(crate) occurred_at: OffsetDateTime,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) traceparent: Option<String>,
    #[diesel(sql_type = Binary)]
    pub(crate) payload: Vec<u8>,
}

impl Row {
    pub(crate) fn envelope<'a>(&'a self, source: &'a str) -> Envelope<'a> {
        Envelope {
            id: self.event_id,
            source,
            kind: &self.kind,
            // The table's CHECK keeps it at 1 or more.
            schema_version: u16::try_from(self.schema_version).unwrap_or_default(),
            aggregate_type: &self.aggregate_type,
            aggregate_id: self.aggregate_id,
            aggregate_version: self.aggregate_version,
            actor: &self.actor,
            time: self.occurred_at,
            traceparent: self.traceparent.as_deref(),
        }
    }
}

/// `(…) IS TRUE` keeps the planner on the primary key: with stale statistics it would take the
/// xid index and sort. The lateral with `ORDER BY xid, id` reads each open transaction's rows
/// in index order even while one of them is a bulk writer.
const PAGE: &str = "\
SELECT id, event_id, topic, key, type AS kind, schema_version, aggregate_type, aggregate_id,
       aggregate_version, actor, occurred_at, traceparent, payload
FROM (
    (SELECT * FROM outbox
     WHERE id > greatest($4::bigint, $2::bigint)
       AND (xid >= pg_snapshot_xmax($1::pg_snapshot)) IS TRUE
       AND pg_visible_in_snapshot(xid, $3::pg_snapshot)
     ORDER BY id LIMIT $5)
    UNION ALL
    (SELECT open_row.*
     FROM pg_snapshot_xip($1::pg_snapshot) AS open (xid)
     CROSS JOIN LATERAL (
         SELECT * FROM outbox
         WHERE outbox.xid = open.xid AND id > $4::bigint
           AND pg_visible_in_snapshot(outbox.xid, $3::pg_snapshot)
         ORDER BY outbox.xid, id LIMIT $5) AS open_row)
) AS page
ORDER BY id LIMIT $5";

#[derive(QueryableByName)]
struct Snapshot {
    #[diesel(sql_type = Text)]
    snapshot: String,
}

#[derive(QueryableByName)]
struct Sequence {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct Burnt {
    #[diesel(sql_type = Text)]
    xid: String,
}

/// What a look at the table found.
pub(crate) enum Look {
    /// Nothing was committed since S1; the cursor is unchanged.
    Idle,
    /// Rows to deliver, by id; fewer than the limit means that they end the window. Possibly
    /// none, when the last full page happened to end it.
    Page(Vec<Row>),
}

/// The next page of at most `limit` rows, opening a new window when none is open.
pub(crate) async fn look(conn: &mut AsyncPgConnection, cursor: &mut Cursor, limit: i64) -> QueryResult<Look> {
    if cursor.s2.is_none() {
        let now = current_snapshot(conn).await?;
        if page(
            conn,
            &Cursor {
                s2: Some(now),
                last: 0,
                ..cursor.clone()
            },
            1,
        )
        .await?
        .is_empty()
        {
            return Ok(Look::Idle);
        }
        open(conn, cursor).await?;
    }
    page(conn, cursor, limit).await.map(Look::Page)
}

/// Takes S2. Three statements, each its own transaction, in exactly this order (see above).
async fn open(conn: &mut AsyncPgConnection, cursor: &mut Cursor) -> QueryResult<()> {
    let h2 = sequence_value(conn).await?;
    let burnt: Burnt = sql_query("SELECT pg_current_xact_id()::text AS xid")
        .get_result(conn)
        .await?;
    let s2 = current_snapshot(conn).await?;
    if xmax(&s2) <= burnt.xid.parse().ok() {
        return Err(diesel::result::Error::QueryBuilderError(
            format!(
                "snapshot {s2} does not lie after xid {}: is this a replica?",
                burnt.xid
            )
            .into(),
        ));
    }
    cursor.h2 = h2;
    cursor.s2 = Some(s2);
    cursor.last = 0;
    Ok(())
}

/// Records that `delivered` of a page with `limit` is done with.
pub(crate) fn advance(cursor: &mut Cursor, delivered: &[Row], limit: i64) {
    if let Some(row) = delivered.last() {
        cursor.last = row.id;
    }
    if (delivered.len() as i64) < limit
        && let Some(s2) = cursor.s2.take()
    {
        cursor.s1 = s2;
        cursor.h = cursor.h2;
        cursor.last = 0;
    }
}

/// The value that the id sequence has reached; 0 while it is unused, when `last_value` says 1.
pub(crate) async fn sequence_value(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    let sequence: Sequence =
        sql_query("SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS value FROM outbox_id_seq")
            .get_result(conn)
            .await?;
    Ok(sequence.value)
}

async fn current_snapshot(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    let now: Snapshot = sql_query("SELECT pg_current_snapshot()::text AS snapshot")
        .get_result(conn)
        .await?;
    Ok(now.snapshot)
}

async fn page(conn: &mut AsyncPgConnection, cursor: &Cursor, limit: i64) -> QueryResult<Vec<Row>> {
    sql_query(PAGE)
        .bind::<Text, _>(&cursor.s1)
        .bind::<BigInt, _>(cursor.h)
        .bind::<Text, _>(cursor.s2.as_deref().unwrap_or(&cursor.s1))
        .bind::<BigInt, _>(cursor.last)
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await
}

/// `xmin:xmax:xip,…`
fn xmax(snapshot: &str) -> Option<u64> {
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
