//! Records for the log, and the rows that they become.

use std::time::Duration;

use audit_consumer::{Log, MIGRATIONS};
use consumer::{Consumer, ConsumerArgs, Health};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use envelope::{Envelope, Scratch};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use testkit::Database;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

pub(crate) async fn database() -> Database {
    Database::create("audit", MIGRATIONS).await
}

pub(crate) async fn owner(database: &Database) -> AsyncPgConnection {
    database::dedicated(&database.owner_url(), "test").await.unwrap()
}

/// As the relay would write it; the event's id is its version.
pub(crate) async fn publish(topic: &str, product: Uuid, version: i64, state: &Value) {
    let traceparent = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
    let envelope = Envelope {
        id: Uuid::from_u128(version as u128),
        source: "test",
        kind: if version == 1 {
            "plumbline.product.created"
        } else {
            "plumbline.product.changed"
        },
        schema_version: 1,
        aggregate_type: "product",
        aggregate_id: product,
        aggregate_version: version,
        actor: "main:ada",
        time: OffsetDateTime::UNIX_EPOCH,
        traceparent: Some(&traceparent),
    };
    let mut headers: Vec<(&str, Vec<u8>)> = Vec::new();
    envelope.write_headers(&mut Scratch::default(), |name, value| {
        headers.push((name, value.as_bytes().to_vec()))
    });
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_slice()))
        .collect();
    testkit::produce(topic, product.to_string(), &headers, state.to_string(), Some(0)).await;
}

pub(crate) struct Process {
    stop: oneshot::Sender<()>,
    consuming: JoinHandle<anyhow::Result<()>>,
    health: Arc<Mutex<Vec<Health>>>,
}

impl Process {
    pub(crate) fn start(database: &Database, topic: &str) -> Process {
        let args = ConsumerArgs {
            kafka: testkit::kafka_args(),
            group_id: topic.to_owned(),
            session_timeout: Duration::from_secs(6),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let health = Arc::new(Mutex::new(Vec::new()));
        let seen = health.clone();
        let consuming = tokio::spawn(Consumer::new(&args, database.pool(), &[topic], Log).run(
            async {
                let _ = stopped.await;
            },
            move |change| seen.lock().unwrap().push(change),
        ));
        Process {
            stop,
            consuming,
            health,
        }
    }

    pub(crate) async fn until_stuck(&self) {
        testkit::eventually("the partition is stuck", async || {
            let health = self.health.lock().unwrap();
            health
                .iter()
                .any(|health| matches!(health, Health::Stuck { .. }))
                .then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.consuming.await.unwrap().unwrap();
    }
}

/// How many rows a query counts.
pub(crate) async fn count(database: &Database, from: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let row: Row = diesel::sql_query(format!("SELECT count(*) AS count FROM {from}"))
        .get_result(&mut owner(database).await)
        .await
        .unwrap();
    row.count
}

pub(crate) async fn until_count(database: &Database, from: &str, expected: i64) {
    testkit::eventually(&format!("{from}: {expected}"), async || {
        (count(database, from).await == expected).then_some(())
    })
    .await;
}
