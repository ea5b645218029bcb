//! A consumer whose effect is one row per record, so that a gap and a repetition both show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consumer::{ApplyError, Consumer, ConsumerArgs, Decode, Handler, Health, Raw, Record, Undecodable};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Int4, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use kafka::KafkaArgs;
use testkit::Database;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/email");

/// The text of a record; `newer` is written in the release after this one.
pub(crate) struct Note(String);

impl Decode for Note {
    fn decode(raw: &Raw) -> Result<Note, Undecodable> {
        let text = String::from_utf8_lossy(raw.payload.as_deref().unwrap_or_default()).into_owned();
        match text.as_str() {
            "malformed" => Err(Undecodable::Malformed("it says so".to_owned())),
            "newer" => Err(Undecodable::Newer("version 2".to_owned())),
            _ => Ok(Note(text)),
        }
    }
}

/// The same in the release after this one.
pub(crate) struct NewerNote(String);

impl Decode for NewerNote {
    fn decode(raw: &Raw) -> Result<NewerNote, Undecodable> {
        Ok(NewerNote(
            String::from_utf8_lossy(raw.payload.as_deref().unwrap_or_default()).into_owned(),
        ))
    }
}

pub(crate) trait Words: Decode {
    fn text(&self) -> &str;
}

impl Words for Note {
    fn text(&self) -> &str {
        &self.0
    }
}

impl Words for NewerNote {
    fn text(&self) -> &str {
        &self.0
    }
}

/// Writes the notes; fails on partition 0 while `failing`.
pub(crate) struct Notes<E> {
    pub(crate) failing: Arc<AtomicBool>,
    event: std::marker::PhantomData<fn() -> E>,
}

impl<E> Notes<E> {
    pub(crate) fn new() -> Self {
        Notes {
            failing: Arc::default(),
            event: std::marker::PhantomData,
        }
    }
}

impl<E: Words> Handler for Notes<E> {
    type Event = E;

    async fn apply_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        batch: &[Record<E>],
    ) -> Result<(), ApplyError> {
        for Record { raw, event } in batch {
            if raw.partition == 0 && AtomicBool::load(&self.failing, Ordering::Relaxed) {
                return Err(anyhow::anyhow!("not today").into());
            }
            diesel::sql_query("INSERT INTO note (partition, \"offset\", text) VALUES ($1, $2, $3)")
                .bind::<Int4, _>(raw.partition)
                .bind::<BigInt, _>(raw.offset)
                .bind::<Text, _>(event.text())
                .execute(conn)
                .await?;
            match event.text() {
                "permanent" => return Err(ApplyError::Permanent("never".to_owned())),
                "unique" => {
                    diesel::sql_query("INSERT INTO once VALUES (1), (1)")
                        .execute(conn)
                        .await?;
                }
                "too long" => {
                    diesel::sql_query("INSERT INTO short VALUES ('too long')")
                        .execute(conn)
                        .await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub(crate) async fn database() -> Database {
    let database = Database::create("email", MIGRATIONS).await;
    let mut owner = database::dedicated(&database.owner_url(), "test").await.unwrap();
    owner
        .batch_execute(
            "CREATE TABLE note (id bigint GENERATED ALWAYS AS IDENTITY, partition int, \"offset\" bigint, text text);
             CREATE TABLE once (n int PRIMARY KEY);
             CREATE TABLE short (text varchar(3));
             GRANT SELECT, INSERT ON note, once, short TO email_runtime",
        )
        .await
        .unwrap();
    database
}

pub(crate) async fn execute(database: &Database, sql: &str) {
    let mut owner = database::dedicated(&database.owner_url(), "test").await.unwrap();
    owner.batch_execute(sql).await.unwrap();
}

/// Offsets of a partition's notes, in the order in which they were applied.
pub(crate) async fn offsets(database: &Database, partition: i32) -> Vec<i64> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        offset: i64,
    }
    let rows: Vec<Row> = diesel::sql_query("SELECT \"offset\" FROM note WHERE partition = $1 ORDER BY id")
        .bind::<Int4, _>(partition)
        .load(&mut database.connect().await)
        .await
        .unwrap();
    rows.into_iter().map(|row| row.offset).collect()
}

/// Waits until partition 0 has exactly these notes.
pub(crate) async fn until_offsets(database: &Database, expected: &[i64]) {
    let what = format!("partition 0 holds {} notes", expected.len());
    testkit::eventually(&what, async || {
        let found = offsets(database, 0).await;
        assert!(found.len() <= expected.len(), "{found:?} for {expected:?}");
        (found == expected).then_some(())
    })
    .await;
}

pub(crate) async fn note(topic: &str, partition: i32, text: &str) {
    testkit::produce(
        topic,
        "key",
        &[("ce_id", b"1"), ("binary", b"\xff\0")],
        text,
        Some(partition),
    )
    .await;
}

/// A member of a group, until it is stopped or dropped.
pub(crate) struct Member {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
    health: Arc<Mutex<Vec<Health>>>,
}

impl Member {
    pub(crate) fn start<E: Words>(database: &Database, topic: &str, group: &str, notes: Notes<E>) -> Member {
        Member::start_on(testkit::kafka_args(), database, topic, group, notes)
    }

    pub(crate) fn start_on<E: Words>(
        kafka: KafkaArgs,
        database: &Database,
        topic: &str,
        group: &str,
        notes: Notes<E>,
    ) -> Member {
        let args = ConsumerArgs {
            kafka,
            group_id: group.to_owned(),
            session_timeout: Duration::from_secs(6),
        };
        let (stop, stopped) = oneshot::channel();
        let health = Arc::new(Mutex::new(Vec::new()));
        let seen = health.clone();
        let member = Consumer::new(&args, database.pool(), &[topic], notes).run(
            async {
                let _ = stopped.await;
            },
            move |change| {
                if change != Health::Polled {
                    seen.lock().unwrap().push(change);
                }
            },
        );
        Member {
            stop,
            task: tokio::spawn(member),
            health,
        }
    }

    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Health) -> bool) {
        testkit::eventually(what, async || {
            self.health.lock().unwrap().iter().any(&is).then_some(())
        })
        .await;
    }

    pub(crate) async fn until_assigned(&self) {
        self.until("partitions are assigned", |health| *health == Health::Assigned)
            .await;
    }

    /// How often partitions were assigned so far.
    pub(crate) fn assignments(&self) -> usize {
        let health = self.health.lock().unwrap();
        health.iter().filter(|seen| **seen == Health::Assigned).count()
    }

    pub(crate) async fn until_stuck(&self) {
        self.until("a partition is stuck", |health| {
            matches!(health, Health::Stuck { .. })
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// Drops its future in the middle of whatever it does.
    pub(crate) fn vanish(self) {
        self.task.abort();
    }

    /// Waits for it to end by itself.
    pub(crate) async fn outcome(self) -> anyhow::Result<()> {
        self.task.await.unwrap()
    }
}
