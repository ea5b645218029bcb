//! A service with one kind of aggregate and an outbox, on an empty PostgreSQL database of its own:
//!
//! ```console
//! $ createdb things
//! $ cargo run -p outbox --example things -- postgres://postgres:secret@127.0.0.1/things
//! ```
//!
//! The role has to be one that may make tables and, the first time, the role `app_runtime`, which the outbox's migrations give rights
//! to. Instead of Kafka a sink of its own takes the facts; [`outbox::KafkaSink`] goes in its place.

use std::time::Duration;

use anyhow::Context as _;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};
use envelope::Fact;
use outbox::{Attribution, Page, Sink, SinkError, Tail, TailArgs, Wake, append_in_txn};
use tokio::sync::mpsc;
use uuid::Uuid;

/// What an adopter copies, in this order.
const OUTBOX: [&str; 3] = [
    include_str!("../../../migrations/app/2026-01-01-000000_outbox/up.sql"),
    include_str!("../../../migrations/app/2026-11-28-000200_outbox_tails/up.sql"),
    include_str!("../../../migrations/app/2026-11-28-000201_outbox_one_row_per_version/up.sql"),
];

const THING: &str = "CREATE TABLE thing (id uuid PRIMARY KEY, name text NOT NULL, version bigint NOT NULL)";

const ROLE: &str = "DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_runtime') THEN CREATE ROLE app_runtime; END IF;
END $$";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).context("usage: things POSTGRES-URL")?;
    let database: database::Access = url.as_str().into();
    let mut conn = database::dedicated(&database, "things").await?;
    for sql in [ROLE, THING].into_iter().chain(OUTBOX) {
        conn.batch_execute(sql)
            .await
            .context("the database has to be an empty one")?;
    }

    let (sender, mut delivered) = mpsc::channel(16);
    let args = TailArgs {
        database,
        source: "things",
        memory: Duration::from_secs(600),
        rows_are_kept: Duration::from_secs(72 * 3600),
    };
    let wake = Wake::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let tail = Tail::new(args, Lines(sender), &wake).run(async { drop(stopped.await) });
    let tail = tokio::spawn(tail);

    let id = Uuid::now_v7();
    rename(&mut conn, &wake, id, "anvil", true).await?;
    rename(&mut conn, &wake, id, "hammer", false).await?;
    rename(&mut conn, &wake, id, "spanner", true).await?;
    for _ in 0..2 {
        println!("{}", delivered.recv().await.context("the tail ended")?);
    }
    drop(stop);
    tail.await?;
    Ok(())
}

/// Changes a thing and states that, in one transaction, which is committed or rolled back.
async fn rename(
    conn: &mut AsyncPgConnection,
    wake: &Wake,
    id: Uuid,
    name: &str,
    commit: bool,
) -> anyhow::Result<()> {
    #[derive(diesel::QueryableByName)]
    struct Version {
        #[diesel(sql_type = BigInt)]
        version: i64,
    }
    AnsiTransactionManager::begin_transaction(conn).await?;
    // The row lock that this takes makes the ids of one aggregate rise in commit order.
    let Version { version } = sql_query(
        "INSERT INTO thing VALUES ($1, $2, 1)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = thing.version + 1
         RETURNING version",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<Text, _>(name)
    .get_result(conn)
    .await?;
    let fact = Fact {
        topic: "things.v1",
        kind: "example.thing.renamed",
        schema_version: 1,
        aggregate_type: "thing",
        aggregate_id: id,
        aggregate_version: version,
        payload: format!(r#"{{"name":"{name}"}}"#).into_bytes(),
    };
    let by = Attribution {
        actor: "system:example",
        traceparent: None,
    };
    append_in_txn(conn, &by, &[fact]).await?;
    if commit {
        AnsiTransactionManager::commit_transaction(conn).await?;
        wake.wake();
    } else {
        AnsiTransactionManager::rollback_transaction(conn).await?;
    }
    Ok(())
}

/// A sink that makes a line of each fact. Its name is its row in `outbox_cursor`.
struct Lines(mpsc::Sender<String>);

impl Sink for Lines {
    const NAME: &'static str = "kafka";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        for row in page.rows() {
            let payload = String::from_utf8_lossy(row.payload());
            let line = format!("{} {} {payload}", row.topic(), row.aggregate_version());
            self.0
                .send(line)
                .await
                .map_err(|closed| SinkError::new("closed", closed))?;
        }
        Ok(())
    }
}
