//! The position decides what is applied, whoever reads the topic and however often.

use crate::notes::{Member, Note, Notes, database, execute, note, until_offsets};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_two_owners_receive_is_applied_once() {
    let (database, topic) = (database().await, testkit::topic("fence", 1).await);
    for n in 0..20 {
        note(&topic, 0, &n.to_string()).await;
    }
    // Two groups know nothing of each other: both own the partition, as a zombie and its successor do.
    let one = Member::start::<Note>(&database, &topic, &format!("{topic}-1"), Notes::new());
    let other = Member::start::<Note>(&database, &topic, &format!("{topic}-2"), Notes::new());
    one.until_assigned().await;
    other.until_assigned().await;
    for n in 20..60 {
        note(&topic, 0, &n.to_string()).await;
    }
    until_offsets(&database, &(0..60).collect::<Vec<_>>()).await;
    one.stop().await;
    note(&topic, 0, "last").await;
    until_offsets(&database, &(0..61).collect::<Vec<_>>()).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_goes_on_where_the_database_says_not_where_kafka_says() {
    let (database, topic) = (database().await, testkit::topic("resume", 1).await);
    for n in 0..6 {
        note(&topic, 0, &n.to_string()).await;
    }
    execute(
        &database,
        &format!("INSERT INTO position VALUES ('{topic}', 0, 4)"),
    )
    .await;
    let member = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    until_offsets(&database, &[4, 5]).await;
    member.stop().await;

    // Kafka now has 6 committed; the database is restored to where it was.
    execute(&database, "DELETE FROM note; UPDATE position SET next_offset = 3").await;
    let member = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    until_offsets(&database, &[3, 4, 5]).await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_set_back_under_a_running_member_is_followed() {
    let (database, topic) = (database().await, testkit::topic("rewind", 1).await);
    for n in 0..5 {
        note(&topic, 0, &n.to_string()).await;
    }
    let member = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    until_offsets(&database, &[0, 1, 2, 3, 4]).await;

    execute(
        &database,
        "DELETE FROM note WHERE \"offset\" >= 2; UPDATE position SET next_offset = 2",
    )
    .await;
    // The next batch begins at 5, above the position: nothing of it may be applied before 2, 3 and 4.
    note(&topic, 0, "5").await;
    until_offsets(&database, &[0, 1, 2, 3, 4, 5]).await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_outside_of_the_log_ends_the_member_with_an_error() {
    let (database, topic) = (database().await, testkit::topic("outside", 1).await);
    note(&topic, 0, "0").await;
    execute(
        &database,
        &format!("INSERT INTO position VALUES ('{topic}', 0, 1000)"),
    )
    .await;
    let member = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    let error = member.outcome().await.unwrap_err().to_string();
    assert!(error.contains("outside of its partition's log"), "{error}");
}
