//! A database with an outbox and a table that says what was committed.

use std::time::Duration;

use diesel::sql_query;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use envelope::Fact;
use outbox::{Attribution, Sink, Tail, TailArgs, Wake, append_in_txn};
use testkit::Version;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::server::OwnServer;

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");
pub(crate) const BY: Attribution<'_> = Attribution {
    actor: "system:test",
    traceparent: None,
};
const TRUTH: &str = "\
CREATE TABLE aggregate (id uuid PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE other (id uuid PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE committed (id uuid, version bigint, PRIMARY KEY (id, version));
GRANT SELECT, INSERT, UPDATE ON aggregate, other, committed TO app_runtime";

pub(crate) struct Fixture {
    pub(crate) database: testkit::Database,
    /// What its facts say; made by those tests that publish.
    pub(crate) topic: &'static str,
}

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        Fixture::publishing_to("nowhere").await
    }

    /// On a server of the test's own.
    pub(crate) async fn on(server: &OwnServer) -> Fixture {
        let database = testkit::Database::create_on(&server.superuser_url(), "app", MIGRATIONS).await;
        make_truth(&database.owner_url()).await;
        Fixture {
            database,
            topic: "nowhere",
        }
    }

    pub(crate) async fn publishing_to(topic: &'static str) -> Fixture {
        let database = testkit::Database::create("app", MIGRATIONS).await;
        make_truth(&database.owner_url()).await;
        Fixture { database, topic }
    }

    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        self.database.connect().await
    }

    pub(crate) async fn owner(&self) -> AsyncPgConnection {
        database::dedicated(&self.database.owner_url(), "test")
            .await
            .unwrap()
    }

    pub(crate) fn tail<S: Sink>(&self, sink: S) -> Running {
        run_tail(&self.database.runtime_url(), sink)
    }

    pub(crate) fn fact(&self, aggregate: Uuid, version: i64) -> Fact {
        fact(self.topic, aggregate, version)
    }

    /// Bumps `aggregate`'s version and appends the fact that says so; the caller's transaction.
    pub(crate) async fn bump_in_txn(&self, conn: &mut AsyncPgConnection, aggregate: Uuid) -> i64 {
        bump_in_txn(conn, self.topic, aggregate).await
    }

    /// Every version that was committed.
    pub(crate) async fn committed(&self) -> Vec<Version> {
        committed(&mut self.connect().await).await
    }
}

pub(crate) async fn make_truth(owner_url: &str) {
    let mut owner = database::dedicated(owner_url, "test").await.unwrap();
    owner.batch_execute(TRUTH).await.unwrap();
}

pub(crate) async fn committed(conn: &mut AsyncPgConnection) -> Vec<Version> {
    #[derive(diesel::QueryableByName)]
    struct Committed {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
        #[diesel(sql_type = BigInt)]
        version: i64,
    }
    let rows: Vec<Committed> = sql_query("SELECT id, version FROM committed")
        .load(conn)
        .await
        .unwrap();
    rows.into_iter().map(|row| (row.id, row.version)).collect()
}

pub(crate) fn fact(topic: &'static str, aggregate: Uuid, version: i64) -> Fact {
    Fact {
        topic,
        kind: "plumbline.test.bumped",
        schema_version: 1,
        aggregate_type: "test",
        aggregate_id: aggregate,
        aggregate_version: version,
        payload: b"{}".to_vec(),
    }
}

/// The version, without its fact.
pub(crate) async fn next_version_in_txn(conn: &mut AsyncPgConnection, aggregate: Uuid) -> i64 {
    number(
        conn,
        &format!(
            "WITH bumped AS (
                 INSERT INTO aggregate VALUES ('{aggregate}', 1)
                 ON CONFLICT (id) DO UPDATE SET version = aggregate.version + 1 RETURNING id, version)
             INSERT INTO committed SELECT id, version FROM bumped RETURNING version AS number"
        ),
    )
    .await
}

pub(crate) async fn bump_in_txn(conn: &mut AsyncPgConnection, topic: &'static str, aggregate: Uuid) -> i64 {
    let version = next_version_in_txn(conn, aggregate).await;
    append_in_txn(conn, &BY, &[fact(topic, aggregate, version)])
        .await
        .unwrap();
    version
}

/// The one `number` that a statement answers with.
pub(crate) async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let row: Number = sql_query(sql)
        .get_result(conn)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    row.number
}

pub(crate) async fn execute(conn: &mut AsyncPgConnection, sql: &str) {
    conn.batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) fn run_tail<S: Sink>(database_url: &str, sink: S) -> Running {
    let args = TailArgs {
        database: database_url.into(),
        source: "outbox-test",
        memory: Duration::from_secs(3600),
        rows_are_kept: Duration::from_secs(3600),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let wake = Wake::new();
    let tail = Tail::new(args, sink, &wake);
    let task = tokio::spawn(tail.run(async { drop(stopped.await) }));
    Running { stop, task, wake }
}

/// A tail in this process.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// What a commit of its process does.
    pub(crate) wake: Wake,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Ends it as a crash would: nothing is saved, and the lease stays.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}
