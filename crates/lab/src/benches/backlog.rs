//! An outbox full of facts that nobody has published yet.

use anyhow::Context as _;
use diesel::deserialize::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

/// Of each fact.
pub(crate) const PAYLOAD_BYTES: usize = 400;

/// Facts of one transaction.
const TRANSACTION: i64 = 1_000;

/// Aggregates that the facts are about; each has a version after the other.
const AGGREGATES: i64 = 10_000;

/// The application's outbox, with every right.
pub(crate) struct Backlog {
    conn: AsyncPgConnection,
    /// Facts that were written so far.
    written: i64,
}

#[derive(QueryableByName)]
struct Pid {
    #[diesel(sql_type = BigInt)]
    pid: i64,
}

impl Backlog {
    pub(crate) async fn open(superuser_url: &str) -> anyhow::Result<Backlog> {
        let conn = AsyncPgConnection::establish(superuser_url)
            .await
            .context("cannot connect as the superuser")?;
        Ok(Backlog { conn, written: 0 })
    }

    /// Writes `rows` facts for `topic`, as transactions would.
    pub(crate) async fn fill(&mut self, topic: &str, rows: i64) -> anyhow::Result<()> {
        let hash = "md5(fact::text)";
        let sql = format!(
            "INSERT INTO outbox (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id,
                                 aggregate_version, actor, payload)
             SELECT gen_random_uuid(), $1, convert_to(aggregate::text, 'UTF8'), 'plumbline.order.placed', 1,
                    'order', aggregate, 1 + fact / {AGGREGATES}, 'system:lab',
                    convert_to('{{\"data\":\"' || left(repeat({hash}, 13), {}) || '\"}}', 'UTF8')
             FROM (SELECT fact, lpad(to_hex(fact % {AGGREGATES}), 32, '0')::uuid AS aggregate
                   FROM generate_series($2, $3 - 1) AS fact) AS facts
             ORDER BY fact",
            PAYLOAD_BYTES - r#"{"data":""}"#.len(),
        );
        let end = self.written + rows;
        while self.written < end {
            let next = end.min(self.written + TRANSACTION);
            sql_query(&sql)
                .bind::<Text, _>(topic)
                .bind::<BigInt, _>(self.written)
                .bind::<BigInt, _>(next)
                .execute(&mut self.conn)
                .await?;
            self.written = next;
        }
        // What writing them left to do is not the relay's.
        self.conn.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Makes the invalidator believe that it has had everything, so that only the relay has work. Nobody may be writing.
    pub(crate) async fn skip_invalidator(&mut self) -> anyhow::Result<()> {
        let skip = "UPDATE outbox_cursor
                    SET s1 = pg_current_snapshot(), h = (SELECT last_value FROM outbox_id_seq), s2 = NULL, last = 0
                    WHERE sink = 'cache'";
        self.conn.batch_execute(skip).await?;
        Ok(())
    }

    /// Deletes all of it, which the tails have had.
    pub(crate) async fn clear(&mut self) -> anyhow::Result<()> {
        self.conn.batch_execute("TRUNCATE outbox").await?;
        Ok(())
    }

    /// The server's processes that work for the relay.
    pub(crate) async fn relay_sessions(&mut self) -> anyhow::Result<Vec<u32>> {
        let sessions =
            "SELECT pid::bigint AS pid FROM pg_stat_activity WHERE application_name = 'app-service kafka'";
        let rows: Vec<Pid> = sql_query(sessions).load(&mut self.conn).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| u32::try_from(row.pid).ok())
            .collect())
    }

    /// Begins a transaction that has an id, and so keeps every later snapshot open behind it.
    pub(crate) async fn leave_open(mut self) -> anyhow::Result<AsyncPgConnection> {
        self.conn
            .batch_execute("SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT pg_current_xact_id()")
            .await?;
        Ok(self.conn)
    }
}
