use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::sql_query;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use envelope::{Envelope, Fact};
use outbox::{Attribution, Relay, RelayArgs, Wake, append_in_txn};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");
const PARTITIONS: i32 = 3;
const BY: Attribution<'_> = Attribution {
    actor: "system:test",
    traceparent: None,
};

/// A database with an outbox and a table that says what was committed, and a topic.
pub(crate) struct Fixture {
    pub(crate) database: testkit::Database,
    topic: &'static str,
}

/// `(aggregate, version)` in the order in which the topic holds them.
pub(crate) type Published = Vec<(Uuid, i64)>;

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        let database = testkit::Database::create("app", MIGRATIONS).await;
        let mut owner = database::dedicated(&database.owner_url(), "test").await.unwrap();
        let truth = "CREATE TABLE truth (aggregate uuid PRIMARY KEY, version bigint NOT NULL);
                     GRANT SELECT, INSERT, UPDATE ON truth TO app_runtime";
        owner.batch_execute(truth).await.unwrap();
        // A `Fact` names its topic for the life of the process, as the real ones do.
        let topic = testkit::topic("outbox", PARTITIONS).await.leak();
        Fixture { database, topic }
    }

    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        self.database.connect().await
    }

    pub(crate) fn relay(&self) -> RunningRelay {
        let args = RelayArgs {
            database: (&self.database.runtime_url()).into(),
            kafka: testkit::kafka_args(),
            source: "outbox-test",
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let relay = Relay::new(args, Wake::new());
        let task = tokio::spawn(relay.run(async { drop(stopped.await) }));
        RunningRelay { stop, task }
    }

    /// Starts following the topic from its beginning.
    pub(crate) fn follow(&self) -> Topic {
        let copies = Arc::new(Mutex::new(Published::new()));
        let (topic, target) = (self.topic, Arc::downgrade(&copies));
        // An OS thread, because dropping a consumer blocks.
        std::thread::spawn(move || {
            let mut config = testkit::kafka_args().client("outbox-test").unwrap();
            config
                .set("group.id", "unused")
                .set("enable.auto.commit", "false");
            let consumer: BaseConsumer = config.create().unwrap();
            let mut partitions = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                partitions
                    .add_partition_offset(topic, partition, Offset::Beginning)
                    .unwrap();
            }
            consumer.assign(&partitions).unwrap();
            while let Some(copies) = target.upgrade() {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                    continue;
                };
                let headers = message.headers().unwrap();
                let envelope = Envelope::parse(headers.iter().map(|h| (h.key, h.value))).unwrap();
                assert_eq!(message.key(), Some(envelope.aggregate_id.to_string().as_bytes()));
                copies
                    .lock()
                    .unwrap()
                    .push((envelope.aggregate_id, envelope.aggregate_version));
            }
        });
        Topic { copies }
    }

    /// Bumps `aggregate`'s version and appends the fact that says so; the caller's transaction.
    pub(crate) async fn bump_in_txn(&self, conn: &mut AsyncPgConnection, aggregate: Uuid) -> i64 {
        #[derive(diesel::QueryableByName)]
        struct Bumped {
            #[diesel(sql_type = BigInt)]
            version: i64,
        }
        let bump = "INSERT INTO truth VALUES ($1, 1)
                    ON CONFLICT (aggregate) DO UPDATE SET version = truth.version + 1 RETURNING version";
        let bumped: Bumped = sql_query(bump)
            .bind::<SqlUuid, _>(aggregate)
            .get_result(conn)
            .await
            .unwrap();
        append_in_txn(conn, &BY, &[self.fact(aggregate, bumped.version)])
            .await
            .unwrap();
        bumped.version
    }

    pub(crate) fn fact(&self, aggregate: Uuid, version: i64) -> Fact {
        Fact {
            topic: self.topic,
            kind: "plumbline.test.bumped",
            schema_version: 1,
            aggregate_type: "test",
            aggregate_id: aggregate,
            aggregate_version: version,
            payload: b"{}".to_vec(),
        }
    }

    /// Aggregates and the versions that were committed.
    pub(crate) async fn committed(&self) -> HashMap<Uuid, i64> {
        #[derive(diesel::QueryableByName)]
        struct Truth {
            #[diesel(sql_type = SqlUuid)]
            aggregate: Uuid,
            #[diesel(sql_type = BigInt)]
            version: i64,
        }
        let mut conn = self.connect().await;
        let rows: Vec<Truth> = sql_query("SELECT * FROM truth").load(&mut conn).await.unwrap();
        rows.into_iter().map(|row| (row.aggregate, row.version)).collect()
    }
}

pub(crate) struct RunningRelay {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningRelay {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Ends it as a crash would: nothing is saved.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// What the topic holds so far.
pub(crate) struct Topic {
    copies: Arc<Mutex<Published>>,
}

impl Topic {
    pub(crate) fn copies(&self) -> Published {
        self.copies.lock().unwrap().clone()
    }

    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&Published) -> bool) -> Published {
        testkit::eventually(what, async || Some(self.copies()).filter(&enough)).await
    }
}

/// First copies of each aggregate are its versions 1, 2, 3 … without a gap, up to what was
/// committed; anything else that the topic holds is a repetition. Returns what is wrong.
pub(crate) fn violations(committed: &HashMap<Uuid, i64>, published: &Published) -> Vec<String> {
    let mut first_copies: HashMap<Uuid, i64> = HashMap::new();
    let mut wrong = Vec::new();
    for (aggregate, version) in published {
        let newest = first_copies.entry(*aggregate).or_default();
        match version - *newest {
            1 => *newest = *version,
            step if step > 1 => {
                wrong.push(format!("{aggregate}: {version} follows {newest}"));
                *newest = *version;
            }
            _ => {}
        }
        if *version > committed.get(aggregate).copied().unwrap_or_default() {
            wrong.push(format!("{aggregate}: {version} was never committed"));
        }
    }
    for (aggregate, version) in committed {
        let newest = first_copies.get(aggregate).copied().unwrap_or_default();
        if newest < *version {
            wrong.push(format!(
                "{aggregate}: {version} was committed, the topic ends with {newest}"
            ));
        }
    }
    wrong
}
