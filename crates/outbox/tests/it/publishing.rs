use std::sync::Arc;
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use envelope::Fact;
use outbox::{Sink as _, append_in_txn, window};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use testkit::judge;
use uuid::Uuid;

use crate::fixture::{BY, Fixture, execute, next_version_in_txn, number};
use crate::reader::commit_one;
use crate::sinks::{declared, follow, relay, relay_declaring, topic};
use crate::wrong::retrying::Retrying;

/// Writers that overlap, linger and roll back, while the relay crashes and is taken over.
#[tokio::test(flavor = "multi_thread")]
async fn first_copies_are_in_order_under_overlapping_writers_and_crashes() {
    let topic = topic().await;
    let fixture = Arc::new(Fixture::publishing_to(topic).await);
    let seen = follow(topic);
    let aggregates: [Uuid; 5] = std::array::from_fn(|_| Uuid::now_v7());
    let writers: Vec<_> = (0..6)
        .map(|seed| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut conn = fixture.connect().await;
                for _ in 0..60 {
                    let mut chosen: Vec<Uuid> = aggregates.sample(&mut rng, 2).copied().collect();
                    chosen.sort_unstable();
                    execute(&mut conn, "BEGIN").await;
                    for aggregate in chosen {
                        fixture.bump_in_txn(&mut conn, aggregate).await;
                        tokio::task::yield_now().await;
                    }
                    let end = ["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]
                        .choose(&mut rng)
                        .unwrap();
                    execute(&mut conn, end).await;
                }
            })
        })
        .collect();
    for crash in 1..=3 {
        let tail = fixture.tail(relay(topic));
        let progress = 40 * crash;
        seen.until("progress between crashes", |copies| copies.len() >= progress)
            .await;
        tail.crash().await;
        // The dead owner's lease must not be waited for each time.
        execute(
            &mut fixture.owner().await,
            "UPDATE outbox_cursor SET lease_until = '-infinity'",
        )
        .await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let tail = fixture.tail(relay(topic));
    let committed = fixture.committed().await;
    let published = seen.until_all(&committed).await;
    let verdict = judge(committed, published);
    assert!(verdict.is_clean(), "{verdict}");
    tail.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_hands_over_at_once_and_nothing_is_published_twice() {
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let seen = follow(topic);
    let aggregate = Uuid::now_v7();
    for version in 1..=3 {
        let tail = fixture.tail(relay(topic));
        commit_one(&fixture, aggregate).await;
        seen.until("the new version", |copies| copies.contains(&(aggregate, version)))
            .await;
        tail.stop().await;
        let free = "SELECT count(*) AS number FROM outbox_cursor
                    WHERE sink = 'kafka' AND owner IS NULL AND lease_until = '-infinity'";
        assert_eq!(number(&mut fixture.connect().await, free).await, 1);
    }
    assert_eq!(seen.all(), [(aggregate, 1), (aggregate, 2), (aggregate, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_differs_from_its_declaration_gets_nothing() {
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let seen = follow(topic);
    commit_one(&fixture, Uuid::now_v7()).await;
    let mut partitions = declared(topic);
    partitions.partitions = 12;
    let mut retention = declared(topic);
    retention
        .settings
        .push(("retention.ms".to_owned(), "-1".to_owned()));
    let mut replication = declared(topic);
    replication.replication = 3;
    for (declaration, complaint) in [
        (partitions, "partitions is 3, declared is 12"),
        (retention, "retention.ms is 604800000, declared is -1"),
        (replication, "replicas is 1, declared is 3"),
    ] {
        let refused = deliver_once(&fixture, relay_declaring(declaration))
            .await
            .unwrap_err();
        assert_eq!(refused.class(), "topic_differs");
        assert!(refused.to_string().contains(complaint), "{refused}");
    }
    // Before there is anything to publish.
    let mut idle = relay_declaring(declared("outbox-no-such-topic"));
    assert_eq!(idle.identity().await.unwrap_err().class(), "unknown_topic");
    let unknown = deliver_once(&fixture, relay("outbox-no-such-topic"))
        .await
        .unwrap_err();
    assert_eq!(unknown.class(), "unknown_topic", "{unknown}");
    assert!(seen.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_has_a_class_of_its_own() {
    let fixture = Fixture::new().await;
    commit_one(&fixture, Uuid::now_v7()).await;
    let mut kafka = testkit::kafka_args();
    kafka.bootstrap_servers = "127.0.0.1:1".to_owned();
    let sink = outbox::KafkaSink::new(outbox::KafkaSinkArgs {
        kafka,
        source: "outbox-test",
        topics: vec![declared("nowhere")],
        deadline: Duration::from_secs(1),
    });
    let refused = deliver_once(&fixture, sink).await.unwrap_err();
    assert_eq!(refused.class(), "broker_down", "{refused}");
}

/// The first page of the outbox, through a sink, without a tail.
pub(crate) async fn deliver_once(
    fixture: &Fixture,
    mut sink: outbox::KafkaSink,
) -> Result<(), outbox::SinkError> {
    let mut conn = fixture.connect().await;
    let page = page(&mut conn, &mut window::Cursor::start()).await;
    sink.deliver(&page).await
}

/// The page after `cursor`, in a window that is opened now.
pub(crate) async fn page(conn: &mut AsyncPgConnection, cursor: &mut window::Cursor) -> outbox::Page {
    window::open(conn, cursor).await.unwrap();
    window::page(conn, cursor, 10, 1 << 20).await.unwrap()
}

/// The broker refuses the first version for its size, until the limit is raised.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_is_not_overtaken_by_the_next_version() {
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let aggregate = Uuid::now_v7();
    let mut conn = fixture.connect().await;
    let mut facts = Vec::new();
    for bytes in [50_000, 100] {
        let version = next_version_in_txn(&mut conn, aggregate).await;
        let payload = incompressible(bytes);
        facts.push(Fact {
            payload,
            ..fixture.fact(aggregate, version)
        });
        append_in_txn(&conn, &BY, &facts[facts.len() - 1..])
            .await
            .unwrap();
    }
    limit(topic, 10_000).await;
    let seen = follow(topic);
    let tail = fixture.tail(relay(topic));
    testkit::eventually("the relay has tried", async || {
        let refused = deliver_once(&fixture, relay(topic)).await;
        (refused.is_err_and(|error| error.class() == "oversized")).then_some(())
    })
    .await;
    limit(topic, 1_000_000).await;
    let published = seen.until_all(&fixture.committed().await).await;
    tail.stop().await;
    let verdict = judge(fixture.committed().await, published);
    assert!(verdict.is_clean(), "{verdict}");

    // The wrong relay, on a topic of its own.
    let topic = self::topic().await;
    for fact in &mut facts {
        fact.topic = topic;
    }
    limit(topic, 10_000).await;
    let seen = follow(topic);
    let wrong = Retrying::new();
    let failed: Vec<Fact> = wrong.send(&facts).await.into_iter().cloned().collect();
    assert_eq!(failed.len(), 1);
    limit(topic, 1_000_000).await;
    assert!(wrong.send(&failed).await.is_empty());
    let published = seen.until("both", |copies| copies.len() == 2).await;
    let verdict = judge(fixture.committed().await, published);
    assert_eq!(verdict.inverted, 1, "nobody noticed: {verdict}");
}

fn incompressible(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rand::random()).collect()
}

/// Sets the largest record that the broker takes.
async fn limit(topic: &str, bytes: usize) {
    alter(topic, "max.message.bytes", &bytes.to_string()).await;
}

/// Changes a setting of a topic.
pub(crate) async fn alter(topic: &str, setting: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = testkit::kafka_args()
        .client("outbox-test")
        .unwrap()
        .create()
        .unwrap();
    let alter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(setting, value);
    admin
        .alter_configs([&alter], &AdminOptions::new())
        .await
        .unwrap()
        .pop()
        .unwrap()
        .unwrap();
    // The broker's log takes its new settings up a moment after the controller has them.
    testkit::eventually("the setting holds", async || {
        let described = admin
            .describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new())
            .await
            .unwrap();
        let entry = described[0].as_ref().unwrap().get(setting).unwrap();
        (entry.value.as_deref() == Some(value)).then_some(())
    })
    .await;
    tokio::task::spawn_blocking(move || drop(admin)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_fact_is_not_published_and_leaves_no_gap() {
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let (tail, seen) = (fixture.tail(relay(topic)), follow(topic));
    let mut conn = fixture.connect().await;
    let aggregate = Uuid::now_v7();
    execute(&mut conn, "BEGIN").await;
    fixture.bump_in_txn(&mut conn, aggregate).await;
    execute(&mut conn, "SAVEPOINT s").await;
    fixture.bump_in_txn(&mut conn, aggregate).await;
    execute(&mut conn, "ROLLBACK TO SAVEPOINT s; COMMIT; BEGIN").await;
    fixture.bump_in_txn(&mut conn, aggregate).await;
    conn.batch_execute("ROLLBACK").await.unwrap();
    fixture.bump_in_txn(&mut conn, aggregate).await;
    let published = seen.until("two versions", |copies| copies.len() >= 2).await;
    assert_eq!(published, [(aggregate, 1), (aggregate, 2)]);
    tail.stop().await;
}
