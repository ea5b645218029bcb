use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Polls by `id > last`, as most outbox relays do.
#[derive(Default)]
pub(crate) struct IdAfterLast {
    last: i64,
    pub(crate) seen: Vec<i64>,
}

impl IdAfterLast {
    pub(crate) async fn poll(&mut self, conn: &mut AsyncPgConnection) {
        let rows: Vec<Id> = sql_query("SELECT id FROM outbox WHERE id > $1 ORDER BY id")
            .bind::<BigInt, _>(self.last)
            .load(conn)
            .await
            .unwrap();
        self.seen.extend(rows.iter().map(|row| row.id));
        self.last = self.seen.last().copied().unwrap_or_default();
    }
}
