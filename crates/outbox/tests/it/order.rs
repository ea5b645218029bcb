use std::collections::HashMap;

use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use outbox::{AppendError, Attribution, append_in_txn};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use uuid::Uuid;

use crate::fixture::{Fixture, violations};
use crate::wrong::id_after_last::IdAfterLast;

async fn begin(conn: &mut AsyncPgConnection) {
    conn.batch_execute("BEGIN").await.unwrap();
}

async fn commit(conn: &mut AsyncPgConnection) {
    conn.batch_execute("COMMIT").await.unwrap();
}

/// Makes the transaction have its xid without writing a row.
async fn take_xid(conn: &mut AsyncPgConnection) {
    sql_query("SELECT pg_current_xact_id()")
        .execute(conn)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_transactions_commit_out_of_id_order() {
    let fixture = Fixture::new().await;
    let (relay, topic) = (fixture.relay(), fixture.follow());
    let mut naive = IdAfterLast::default();
    let [mut early, mut late, mut probe] = [
        fixture.connect().await,
        fixture.connect().await,
        fixture.connect().await,
    ];
    let [first, a, b] = std::array::from_fn(|_| Uuid::now_v7());

    // The first row that the outbox ever holds.
    fixture.bump_in_txn(&mut probe, first).await;
    topic
        .until("the first fact", |copies| copies.contains(&(first, 1)))
        .await;
    naive.poll(&mut probe).await;

    // The lower id is still open when the higher one is committed, published and polled.
    begin(&mut early).await;
    fixture.bump_in_txn(&mut early, a).await;
    begin(&mut late).await;
    fixture.bump_in_txn(&mut late, b).await;
    commit(&mut late).await;
    topic
        .until("the later id", |copies| copies.contains(&(b, 1)))
        .await;
    naive.poll(&mut probe).await;
    commit(&mut early).await;
    naive.poll(&mut probe).await;

    let published = topic.until("all three", |copies| copies.len() >= 3).await;
    assert_eq!(
        violations(&fixture.committed().await, &published),
        Vec::<String>::new()
    );
    assert_eq!(
        naive.seen,
        [1, 3],
        "polling by id must lose the row, or this test proves nothing"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_an_open_writer_holds_the_newest_xid() {
    let fixture = Fixture::new().await;
    let (relay, topic) = (fixture.relay(), fixture.follow());
    let [mut older, mut newest] = [fixture.connect().await, fixture.connect().await];
    let [a, b] = std::array::from_fn(|_| Uuid::now_v7());

    // `newest` has the higher xid and the lower id, and no later transaction has completed: a
    // snapshot's xmax alone doesn't tell that it is running.
    begin(&mut older).await;
    take_xid(&mut older).await;
    begin(&mut newest).await;
    fixture.bump_in_txn(&mut newest, b).await;
    fixture.bump_in_txn(&mut older, a).await;
    commit(&mut older).await;
    topic
        .until("the older writer's fact", |copies| copies.contains(&(a, 1)))
        .await;
    commit(&mut newest).await;

    let published = topic.until("both", |copies| copies.len() >= 2).await;
    assert_eq!(
        violations(&fixture.committed().await, &published),
        Vec::<String>::new()
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_fact_is_not_published_and_leaves_no_gap() {
    let fixture = Fixture::new().await;
    let (relay, topic) = (fixture.relay(), fixture.follow());
    let mut conn = fixture.connect().await;
    let aggregate = Uuid::now_v7();
    begin(&mut conn).await;
    fixture.bump_in_txn(&mut conn, aggregate).await;
    conn.batch_execute("SAVEPOINT s").await.unwrap();
    fixture.bump_in_txn(&mut conn, aggregate).await;
    conn.batch_execute("ROLLBACK TO SAVEPOINT s").await.unwrap();
    commit(&mut conn).await;
    begin(&mut conn).await;
    fixture.bump_in_txn(&mut conn, aggregate).await;
    conn.batch_execute("ROLLBACK").await.unwrap();
    fixture.bump_in_txn(&mut conn, aggregate).await;

    let published = topic.until("two versions", |copies| copies.len() >= 2).await;
    assert_eq!(published, [(aggregate, 1), (aggregate, 2)]);
    relay.stop().await;
}

/// Writers that overlap, linger and roll back, while the relay crashes and is taken over.
#[tokio::test(flavor = "multi_thread")]
async fn first_copies_are_in_order_under_overlapping_writers_and_crashes() {
    let fixture = std::sync::Arc::new(Fixture::new().await);
    let topic = fixture.follow();
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
                    begin(&mut conn).await;
                    for aggregate in chosen {
                        fixture.bump_in_txn(&mut conn, aggregate).await;
                        tokio::task::yield_now().await;
                    }
                    let end = ["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]
                        .choose(&mut rng)
                        .unwrap();
                    conn.batch_execute(end).await.unwrap();
                }
            })
        })
        .collect();
    for crash in 1..=4 {
        let relay = fixture.relay();
        let progress = 40 * crash;
        topic
            .until("progress between crashes", |copies| copies.len() >= progress)
            .await;
        relay.crash().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (relay, committed) = (fixture.relay(), fixture.committed().await);
    let all = |copies: &Vec<(Uuid, i64)>| committed.iter().all(|(id, v)| copies.contains(&(*id, *v)));
    let published = topic.until("every aggregate's last version", all).await;
    assert_eq!(violations(&committed, &published), Vec::<String>::new());
    relay.stop().await;
}

#[test]
fn the_checker_catches_a_loss_an_inversion_and_a_ghost() {
    let id = Uuid::from_u128(7);
    let committed = HashMap::from([(id, 3)]);
    for (published, wrong) in [
        (vec![(id, 1), (id, 2), (id, 3)], 0),
        (vec![(id, 1), (id, 2), (id, 1), (id, 2), (id, 3)], 0),
        (vec![(id, 1), (id, 2)], 1),
        (vec![(id, 1), (id, 3), (id, 2)], 1),
        (vec![(id, 1), (id, 2), (id, 3), (id, 4)], 1),
    ] {
        assert_eq!(violations(&committed, &published).len(), wrong, "{published:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_have_one_owner_and_the_other_takes_over() {
    let fixture = Fixture::new().await;
    let topic = fixture.follow();
    let mut conn = fixture.connect().await;
    let aggregate = Uuid::now_v7();
    let first = fixture.relay();
    fixture.bump_in_txn(&mut conn, aggregate).await;
    topic.until("the first version", |copies| copies.len() == 1).await;
    let second = fixture.relay();
    first.crash().await;
    fixture.bump_in_txn(&mut conn, aggregate).await;
    topic
        .until("the second version", |copies| copies.contains(&(aggregate, 2)))
        .await;
    second.stop().await;
    // What was published before a clean stop is not published again by the next owner.
    let copies = topic.copies().len();
    let third = fixture.relay();
    fixture.bump_in_txn(&mut conn, aggregate).await;
    let published = topic
        .until("the third version", |copies| copies.contains(&(aggregate, 3)))
        .await;
    assert_eq!(published.len(), copies + 1);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_kafka_would_refuse_is_refused_before_it_is_a_row() {
    let fixture = Fixture::new().await;
    let mut conn = fixture.connect().await;
    let mut fact = fixture.fact(Uuid::now_v7(), 1);
    fact.payload = vec![b' '; outbox::MAX_PAYLOAD + 1];
    let by = Attribution {
        actor: "system:test",
        traceparent: None,
    };
    let refused = append_in_txn(&mut conn, &by, &[fact]).await;
    assert!(
        matches!(refused, Err(AppendError::TooLarge { bytes: 262_145, .. })),
        "{refused:?}"
    );
}
