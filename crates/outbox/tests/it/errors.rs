//! What goes wrong with Kafka, by its class: who has to act, and on what. Nothing is lost by any of it.

use std::time::Duration;

use outbox::{KafkaSink, KafkaSinkArgs, Sink as _};
use settings::Secret;
use testkit::{Authority, Broker, Listener, judge, kafka_args, topic_as};
use tls::{ClientArgs, ClientFiles};
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::publishing::{alter, deliver_once, page};
use crate::reader::commit_one;
use crate::sinks::{PARTITIONS, declared, follow, follow_as, relay_declaring, topic};

fn sink(kafka: kafka::KafkaArgs, topics: Vec<outbox::Topic>) -> KafkaSink {
    KafkaSink::new(KafkaSinkArgs {
        kafka,
        source: "outbox-test",
        topics,
        deadline: Duration::from_secs(3),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_dies_or_has_no_room_is_told_apart_and_loses_nothing() {
    let authority = Authority::new("ours");
    let mut broker = Broker::start(&authority).await;
    let plain = broker.args(Listener::Plain, ClientFiles::default());
    let topic: &'static str = topic_as(&plain, "outbox", PARTITIONS).await.leak();
    let fixture = Fixture::publishing_to(topic).await;
    let seen = follow_as(plain.clone(), topic);
    let aggregates: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    let change = async || {
        for aggregate in aggregates {
            commit_one(&fixture, aggregate).await;
        }
    };
    change().await;

    let trusting = ClientFiles {
        ca: Some(authority.ca()),
        identity: None,
    };
    let mut wrong = broker.args(Listener::Login, trusting);
    wrong.sasl_password = Some(Secret::of("another"));
    let refused = deliver_once(&fixture, sink(wrong, vec![declared(topic)]))
        .await
        .unwrap_err();
    assert_eq!(refused.class(), "unauthorised", "{refused}");

    // From here on one sink, as a tail has it: what it cannot deliver is delivered again.
    let mut sink = sink(plain, vec![declared(topic)]);
    let (mut conn, mut at) = (fixture.connect().await, outbox::window::Cursor::start());
    let mut next = page(&mut conn, &mut at).await;
    sink.deliver(&next).await.unwrap();
    at = at.after(&next);

    change().await;
    next = page(&mut conn, &mut at).await;
    broker.kill();
    let down = sink.deliver(&next).await.unwrap_err();
    assert_eq!(down.class(), "broker_down", "{down}");
    broker.restart().await;
    testkit::eventually("it is delivered", async || sink.deliver(&next).await.ok()).await;
    at = at.after(&next);

    // A broker whose only disk is full takes it offline and ends.
    change().await;
    next = page(&mut conn, &mut at).await;
    broker.leave_no_room();
    let full = sink.deliver(&next).await.unwrap_err();
    assert!(
        ["storage", "no_leader", "broker_down"].contains(&full.class()),
        "{full}"
    );
    broker.restart().await;
    testkit::eventually("it is delivered", async || sink.deliver(&next).await.ok()).await;

    let committed = fixture.committed().await;
    let verdict = judge(committed.clone(), seen.until_all(&committed).await);
    assert!(verdict.is_clean(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_few_replicas_in_sync_has_a_class_of_its_own() {
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let seen = follow(topic);
    commit_one(&fixture, Uuid::now_v7()).await;
    alter(topic, "min.insync.replicas", "2").await;
    let mut needs_two = declared(topic);
    needs_two.settings = vec![("min.insync.replicas".to_owned(), "2".to_owned())];
    let mut sink = relay_declaring(needs_two);
    let refused = sink.identity().await.unwrap_err();
    assert_eq!(refused.class(), "not_enough_replicas", "{refused}");
    assert!(seen.all().is_empty());
}

/// A consumer of this system, which may read the topic and not write to it, in the relay's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_write_is_unauthorised() {
    let fixture = Fixture::publishing_to(events::topics::ORDERS).await;
    commit_one(&fixture, Uuid::now_v7()).await;
    let kafka = kafka::KafkaArgs {
        sasl_username: Some("analytics-consumer".to_owned()),
        sasl_password: Some(Secret::of("analytics-consumer")),
        tls: ClientArgs::default(),
        ..kafka_args()
    };
    let refused = deliver_once(&fixture, sink(kafka, Vec::new())).await.unwrap_err();
    assert_eq!(refused.class(), "unauthorised", "{refused}");
}
