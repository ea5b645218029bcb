//! A database that went back in time, or is another one.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::fixture::{Fixture, execute, number};
use crate::operator::{Log, run};
use crate::reader::commit_one;
use crate::server::OwnServer;
use crate::sinks::{Recorder, Relay};

#[tokio::test]
async fn after_a_restore_the_tails_stop_until_everything_is_restated() {
    let (log, _guard) = Log::keep();
    let mut server = OwnServer::start().await;
    let fixture = Fixture::on(&server).await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    let aggregates: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    let change = async || {
        for aggregate in aggregates {
            commit_one(&fixture, aggregate).await;
        }
    };
    change().await;
    sink.seen.until_all(&fixture.committed().await).await;
    server.crash();
    server.back_up();
    server.start_again().await;
    for _ in 0..3 {
        change().await;
        sink.seen.until_all(&fixture.committed().await).await;
        // Each save counts.
        let saves = "SELECT saves AS number FROM outbox_cursor WHERE sink = 'cache'";
        let saved = number(&mut fixture.connect().await, saves).await;
        change().await;
        testkit::eventually("a save", async || {
            (number(&mut fixture.connect().await, saves).await > saved).then_some(())
        })
        .await;
    }
    server.crash();
    server.restore();
    server.start_again().await;
    // Versions are used for the second time now.
    change().await;
    log.says("run `outbox restate --after-restore`").await;

    let told = run(&fixture, "restate --after-restore").await.unwrap();
    assert!(told.contains("generation 1 is open"), "{told}");
    let committed = fixture.committed().await;
    let seen = sink.seen.until_all(&committed).await;
    let mut newest: BTreeMap<Uuid, i64> = BTreeMap::new();
    for (aggregate, version) in seen {
        let newest = newest.entry(aggregate).or_default();
        *newest = version.max(*newest);
    }
    for aggregate in aggregates {
        assert_eq!(
            newest[&aggregate],
            (1 << 40) + 1,
            "nothing of the lost future is newer"
        );
    }
    change().await;
    let committed = fixture.committed().await;
    assert!(committed.contains(&(aggregates[0], (1 << 40) + 2)));
    sink.seen.until_all(&committed).await;
    run(&fixture, "check").await.unwrap();
    tail.stop().await;
}

#[tokio::test]
async fn a_store_that_remembers_more_saves_than_the_database_stops_the_tail() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    sink.identity.lock().unwrap().saves = Some(500);
    commit_one(&fixture, Uuid::now_v7()).await;
    let relayed = Recorder::default();
    let relay = fixture.tail(Relay(relayed.clone()));
    relayed
        .seen
        .until("the relay works", |seen| seen.len() == 1)
        .await;
    let tail = fixture.tail(sink.clone());
    log.says("the sink's store was told of 500").await;
    assert!(sink.seen.all().is_empty());
    // The relay has no store that could tell it, and stops as well; so does one that is started after that.
    log.says("or another tail found that the database went back in time")
        .await;
    relay.crash().await;
    let halts = log.count("or another tail found");
    let relay = fixture.tail(Relay(relayed.clone()));
    commit_one(&fixture, Uuid::now_v7()).await;
    testkit::eventually("the new one stops too", async || {
        (log.count("or another tail found") > halts).then_some(())
    })
    .await;
    assert_eq!(relayed.seen.all().len(), 1);
    let refused = run(&fixture, "resume").await.unwrap_err();
    assert!(refused.contains("--nothing-lost"), "{refused}");
    run(&fixture, "resume --nothing-lost").await.unwrap();
    sink.seen.until("it goes on", |seen| seen.len() == 2).await;
    relayed
        .seen
        .until("so does the relay", |seen| seen.len() >= 2)
        .await;
    tail.stop().await;
    relay.stop().await;
}

/// A suspended owner that wakes up finds numbers of its successor's, which are no sign of a lost database.
#[tokio::test]
async fn an_owner_that_was_replaced_without_knowing_does_not_stop_the_tails() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    commit_one(&fixture, Uuid::now_v7()).await;
    sink.seen.until("the first", |seen| seen.len() == 1).await;
    let replace = "UPDATE outbox_cursor SET epoch = epoch + 1, saves = saves + 500, owner = 'another',
                   lease_until = clock_timestamp() + interval '1 s' WHERE sink = 'cache'";
    execute(&mut fixture.owner().await, replace).await;
    sink.identity.lock().unwrap().saves = Some(500);
    log.says("the tail is no longer this replica's").await;
    // The other one's lease ends, and it owns the tail again.
    let second = Uuid::now_v7();
    commit_one(&fixture, second).await;
    sink.seen
        .until("the second", |seen| seen.contains(&(second, 1)))
        .await;
    assert_eq!(log.count("the tail has stopped"), 0);
    let halted = "SELECT count(*) AS number FROM outbox_generation WHERE timeline < 0";
    assert_eq!(number(&mut fixture.connect().await, halted).await, 0);
    tail.stop().await;
}

#[tokio::test]
async fn another_timeline_stops_a_tail_until_nothing_was_lost() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    // As after a failover: the cursors belong to the time before.
    execute(
        &mut fixture.owner().await,
        "UPDATE outbox_generation SET timeline = timeline + 1",
    )
    .await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    commit_one(&fixture, Uuid::now_v7()).await;
    log.says("the server or its timeline is not the one").await;
    assert!(sink.seen.all().is_empty());
    run(&fixture, "resume --nothing-lost").await.unwrap();
    sink.seen.until("it goes on", |seen| seen.len() == 1).await;
    tail.stop().await;
}

/// As after a dump was loaded: the cursor names transactions that this server has not reached.
#[tokio::test]
async fn a_cursor_from_the_future_stops_the_tails_and_begins_anew_once_restated() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    let aggregate = Uuid::now_v7();
    commit_one(&fixture, aggregate).await;
    execute(
        &mut fixture.owner().await,
        "UPDATE outbox_cursor SET s1 = '4000000000:4000000000:', h = 77 WHERE sink = 'cache'",
    )
    .await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    log.says("ahead of everything that the database knows").await;
    let halted = "SELECT count(*) AS number FROM outbox_generation WHERE timeline < 0";
    testkit::eventually("the other tails are told", async || {
        (number(&mut fixture.connect().await, halted).await == 1).then_some(())
    })
    .await;
    assert!(sink.seen.all().is_empty());
    run(&fixture, "restate --after-restore").await.unwrap();
    sink.seen
        .until("what was there, and what was restated", |seen| {
            seen.contains(&(aggregate, 1)) && seen.contains(&(aggregate, (1 << 40) + 1))
        })
        .await;
    tail.stop().await;
}
