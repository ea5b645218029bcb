//! Relays that read the table in other ways.

use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use testkit::Version;
use uuid::Uuid;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    xid: String,
    #[diesel(sql_type = SqlUuid)]
    aggregate_id: Uuid,
    #[diesel(sql_type = BigInt)]
    aggregate_version: i64,
}

const COLUMNS: &str = "id, xid::text, aggregate_id, aggregate_version";

/// Polls by `id > last`, as most outbox relays do.
#[derive(Default)]
pub(crate) struct IdAfterLast {
    last: i64,
    pub(crate) seen: Vec<Version>,
}

impl IdAfterLast {
    pub(crate) async fn poll(&mut self, conn: &mut AsyncPgConnection) {
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE id > $1 ORDER BY id");
        let rows: Vec<Row> = sql_query(sql)
            .bind::<BigInt, _>(self.last)
            .load(conn)
            .await
            .unwrap();
        for row in rows {
            self.last = row.id;
            self.seen.push((row.aggregate_id, row.aggregate_version));
        }
    }
}

/// Everything below the oldest running transaction, by `(xid, id)`.
pub(crate) struct XidThenId {
    last: (String, i64),
    pub(crate) seen: Vec<Version>,
}

impl XidThenId {
    pub(crate) fn new() -> XidThenId {
        XidThenId {
            last: ("0".to_owned(), 0),
            seen: Vec::new(),
        }
    }

    pub(crate) async fn poll(&mut self, conn: &mut AsyncPgConnection) {
        let sql = format!(
            "SELECT {COLUMNS} FROM outbox
             WHERE (xid, id) > ($1::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
             ORDER BY outbox.xid, id"
        );
        let rows: Vec<Row> = sql_query(sql)
            .bind::<Text, _>(&self.last.0)
            .bind::<BigInt, _>(self.last.1)
            .load(conn)
            .await
            .unwrap();
        for row in rows {
            self.last = (row.xid, row.id);
            self.seen.push((row.aggregate_id, row.aggregate_version));
        }
    }
}
