//! A server that crashes forgets transaction ids and sequence values that nothing was flushed after. What is in memory
//! then describes a history that did not happen.

use std::time::Duration;

use outbox::window::Cursor;
use testkit::judge;
use uuid::Uuid;

use crate::fixture::{Fixture, execute, number};
use crate::reader::{Reader, commit_one};
use crate::server::OwnServer;
use crate::sinks::Recorder;

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_before_a_crash_loses_rows_and_the_saved_one_does_not() {
    let mut server = OwnServer::start().await;
    let fixture = Fixture::on(&server).await;
    let mut superuser = database::dedicated(&server.superuser_url(), "test")
        .await
        .unwrap();
    // Nothing may be flushed by itself.
    execute(&mut superuser, "ALTER SYSTEM SET wal_writer_delay = '10s'").await;
    execute(&mut superuser, "SELECT pg_reload_conf()").await;
    let mut writer = fixture.owner().await;
    let mut reader = Reader::new(&fixture).await;
    commit_one(&fixture, Uuid::now_v7()).await;
    // Ids and xids that nobody will have heard of.
    execute(
        &mut writer,
        "BEGIN; SELECT nextval('outbox_id_seq') FROM generate_series(1, 300); ROLLBACK",
    )
    .await;
    for _ in 0..100 {
        number(
            &mut writer,
            "SELECT 1::bigint AS number FROM pg_current_xact_id()",
        )
        .await;
    }
    reader.drain().await;
    let in_memory = reader.cursor.clone();
    server.crash();
    server.start_again().await;
    for _ in 0..3 {
        commit_one(&fixture, Uuid::now_v7()).await;
    }
    let seen = reader.seen.clone();
    for (cursor, clean) in [(Cursor::start(), true), (in_memory, false)] {
        let mut reader = Reader::new(&fixture).await;
        reader.cursor = cursor;
        reader.seen = seen.clone();
        reader.drain().await;
        let verdict = judge(fixture.committed().await, reader.seen.iter().copied());
        assert_eq!(verdict.is_clean(), clean, "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_goes_on_after_the_server_crashed() {
    let mut server = OwnServer::start().await;
    let fixture = Fixture::on(&server).await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    for _ in 0..3 {
        for _ in 0..20 {
            commit_one(&fixture, Uuid::now_v7()).await;
        }
        server.crash();
        server.start_again().await;
    }
    let committed = fixture.committed().await;
    let seen = sink.seen.until_all(&committed).await;
    let verdict = judge(committed, seen);
    assert!(verdict.is_clean(), "{verdict}");
    tail.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_forgot_is_told_again() {
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    sink.identity.lock().unwrap().store = Some("first".to_owned());
    let tail = fixture.tail(sink.clone());
    let aggregate = Uuid::now_v7();
    commit_one(&fixture, aggregate).await;
    sink.seen.until("it is told", |seen| seen.len() == 1).await;
    let saved = "SELECT count(*) AS number FROM outbox_cursor WHERE store = 'first' AND h > 0";
    testkit::eventually("the position is saved with the store", async || {
        (number(&mut fixture.connect().await, saved).await == 1).then_some(())
    })
    .await;
    let losses = *sink.losses.lock().unwrap();
    sink.identity.lock().unwrap().store = Some("second".to_owned());
    sink.seen.until("it is told again", |seen| seen.len() == 2).await;
    assert_eq!(sink.seen.all(), [(aggregate, 1), (aggregate, 1)]);
    assert_eq!(*sink.losses.lock().unwrap(), losses + 1);
    tail.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_rises_while_nothing_happens_and_nothing_is_written() {
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    commit_one(&fixture, Uuid::now_v7()).await;
    sink.seen.until("it is told", |seen| seen.len() == 1).await;
    let watermark =
        async || testkit::eventually("a watermark", async || *sink.watermark.lock().unwrap()).await;
    let first = watermark().await;
    assert!(first.lag < Duration::from_secs(30));
    let saves = "SELECT saves AS number FROM outbox_cursor WHERE sink = 'cache'";
    testkit::eventually("it is saved", async || {
        (number(&mut fixture.connect().await, saves).await > 0).then_some(())
    })
    .await;
    let saved = number(&mut fixture.connect().await, saves).await;
    testkit::eventually("it rises", async || {
        // A wake for a commit that a poll has delivered already: the window is empty.
        tail.wake.wake();
        (watermark().await.at > first.at + Duration::from_secs(1)).then_some(())
    })
    .await;
    assert_eq!(number(&mut fixture.connect().await, saves).await, saved);
    tail.stop().await;
}
