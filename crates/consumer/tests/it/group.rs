//! Members that come and go while records arrive.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::notes::{Member, Note, Notes, database, note, offsets};

const PARTITIONS: i32 = 6;
const ROUNDS: i64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_and_leave_neither_lose_nor_repeat_a_record() {
    let (database, topic) = (database().await, testkit::topic("members", PARTITIONS).await);
    let producing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                for partition in 0..PARTITIONS {
                    note(&topic, partition, "x").await;
                }
            }
        })
    };
    let start = || Member::start::<Note>(&database, &topic, &topic, Notes::new());

    let first = start();
    first.until_assigned().await;
    let second = start();
    second.until_assigned().await;
    let third = start();
    third.until_assigned().await;
    first.stop().await;
    let fourth = start();
    fourth.until_assigned().await;
    second.stop().await;
    third.stop().await;
    producing.await.unwrap();

    let all: Vec<i64> = (0..ROUNDS).collect();
    for partition in 0..PARTITIONS {
        let what = format!("partition {partition} has every record once, in order");
        testkit::eventually(&what, async || {
            let found = offsets(&database, partition).await;
            assert!(all.starts_with(&found), "partition {partition}: {found:?}");
            (found == all).then_some(())
        })
        .await;
    }
    fourth.stop().await;
    assert_eq!(
        committed_in_kafka(&topic),
        vec![Offset::Offset(ROUNDS); PARTITIONS as usize]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_vanishes_is_replaced_and_nothing_is_lost_or_repeated() {
    let (database, topic) = (database().await, testkit::topic("vanish", 1).await);
    let first = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    first.until_assigned().await;
    for _ in 0..50 {
        note(&topic, 0, "x").await;
    }
    first.vanish();
    let second = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    crate::notes::until_offsets(&database, &(0..50).collect::<Vec<_>>()).await;
    second.stop().await;
}

/// What lag tools read.
fn committed_in_kafka(group_and_topic: &str) -> Vec<Offset> {
    let client: BaseConsumer = testkit::kafka_args()
        .client("test")
        .unwrap()
        .set("group.id", group_and_topic)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(group_and_topic, 0, PARTITIONS - 1);
    let committed = client.committed_offsets(list, Duration::from_secs(10)).unwrap();
    committed
        .elements()
        .iter()
        .map(|element| element.offset())
        .collect()
}
