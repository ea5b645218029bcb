use std::time::Duration;

use outbox::{Retention, delete_chunk};
use testkit::judge;
use uuid::Uuid;

use crate::fixture::{Fixture, execute, number};
use crate::reader::{Reader, Writer, commit_one};

/// Saves the reader's position for every sink, as each tail does for its own.
async fn save(reader: &mut Reader) {
    let save = format!(
        "UPDATE outbox_cursor SET s1 = '{}', h = {}",
        reader.cursor.s1, reader.cursor.h
    );
    execute(&mut reader.conn, &save).await;
}

async fn rows(fixture: &Fixture) -> i64 {
    number(
        &mut fixture.connect().await,
        "SELECT count(*) AS number FROM outbox",
    )
    .await
}

#[tokio::test]
async fn nothing_is_deleted_that_a_sink_has_not_had() {
    let fixture = Fixture::new().await;
    let mut conn = fixture.connect().await;
    let mut reader = Reader::new(&fixture).await;
    for _ in 0..5 {
        commit_one(&fixture, Uuid::now_v7()).await;
    }
    assert_eq!(delete_chunk(&mut conn, Duration::ZERO, 100).await.unwrap(), 0);
    reader.drain().await;
    save(&mut reader).await;
    // One of two sinks has not.
    execute(
        &mut conn,
        "UPDATE outbox_cursor SET s1 = '1:1:' WHERE sink = 'cache'",
    )
    .await;
    assert_eq!(delete_chunk(&mut conn, Duration::ZERO, 100).await.unwrap(), 0);
    save(&mut reader).await;
    assert_eq!(
        delete_chunk(&mut conn, Duration::from_secs(3600), 100)
            .await
            .unwrap(),
        0,
        "they are young"
    );
    assert_eq!(delete_chunk(&mut conn, Duration::ZERO, 3).await.unwrap(), 3);
    assert_eq!(delete_chunk(&mut conn, Duration::ZERO, 3).await.unwrap(), 2);
    assert_eq!(rows(&fixture).await, 0);
    let swept = number(&mut conn, "SELECT swept_to AS number FROM outbox_retention").await;
    assert_eq!(swept, 5, "the next chunk does not walk over these again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_commits_between_check_and_delete_stays() {
    // With the check and the deletion by id, as it is usually done, the same interleaving loses the row.
    for by_id in [false, true] {
        let fixture = Fixture::new().await;
        let mut reader = Reader::new(&fixture).await;
        let mut late = Writer::begin(&fixture).await;
        late.bump(Uuid::now_v7()).await;
        commit_one(&fixture, Uuid::now_v7()).await;
        reader.drain().await;
        save(&mut reader).await;
        // The deleter waits for a row that is locked, and meanwhile the lower id is committed.
        let mut lock = fixture.owner().await;
        execute(&mut lock, "BEGIN; SELECT 1 FROM outbox FOR UPDATE").await;
        let last = number(&mut lock, "SELECT max(id) AS number FROM outbox").await;
        let mut deleter = fixture.owner().await;
        let deleting = tokio::spawn(async move {
            if by_id {
                execute(
                    &mut deleter,
                    &format!("DELETE FROM outbox WHERE id <= {last} AND id > 1"),
                )
                .await;
                execute(&mut deleter, &format!("DELETE FROM outbox WHERE id <= {last}")).await;
            } else {
                delete_chunk(&mut deleter, Duration::ZERO, 100).await.unwrap();
            }
        });
        testkit::eventually("the deleter waits", async || {
            let waits = "SELECT count(*) AS number FROM pg_stat_activity
                         WHERE wait_event_type = 'Lock' AND datname = current_database()";
            (number(&mut fixture.owner().await, waits).await == 1).then_some(())
        })
        .await;
        late.commit().await;
        execute(&mut lock, "COMMIT").await;
        deleting.await.unwrap();
        reader.drain().await;
        let verdict = judge(fixture.committed().await, reader.seen.iter().copied());
        assert_eq!(verdict.is_clean(), !by_id, "{verdict}");
    }
}

#[tokio::test]
async fn nobody_who_writes_waits_for_a_deletion() {
    let fixture = Fixture::new().await;
    let mut reader = Reader::new(&fixture).await;
    let aggregate = Uuid::now_v7();
    for _ in 0..5 {
        commit_one(&fixture, aggregate).await;
    }
    reader.drain().await;
    save(&mut reader).await;
    let mut deleter = fixture.connect().await;
    execute(&mut deleter, "BEGIN").await;
    assert_eq!(delete_chunk(&mut deleter, Duration::ZERO, 100).await.unwrap(), 5);
    // The deletion stays open. A writer that waited for it would be ended by its own time limit, and fail.
    commit_one(&fixture, aggregate).await;
    reader.drain().await;
    assert_eq!(reader.seen.last(), Some(&(aggregate, 6)));
    // Nor does another replica's deletion.
    let mut another = fixture.connect().await;
    assert_eq!(delete_chunk(&mut another, Duration::ZERO, 100).await.unwrap(), 0);
    execute(&mut deleter, "COMMIT").await;
    assert_eq!(rows(&fixture).await, 1);
}

#[tokio::test]
async fn old_rows_disappear_by_themselves_and_in_more_chunks_than_one() {
    let fixture = Fixture::new().await;
    let mut reader = Reader::new(&fixture).await;
    let many = "INSERT INTO outbox (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id, aggregate_version,
                                    actor, payload)
                SELECT gen_random_uuid(), 'nowhere', 'k', 't', 1, 'test', gen_random_uuid(), 1, 'system:test', ''
                FROM generate_series(1, 5100)";
    execute(&mut fixture.owner().await, many).await;
    commit_one(&fixture, Uuid::now_v7()).await;
    while reader.seen.len() < 5101 {
        reader.drain().await;
    }
    save(&mut reader).await;
    let retention = Retention {
        database: (&fixture.database.runtime_url()).into(),
        source: "outbox-test",
        keep: Duration::ZERO,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(retention.run(async { drop(stopped.await) }));
    testkit::eventually("nothing is left", async || {
        (rows(&fixture).await == 0).then_some(())
    })
    .await;
    stop.send(()).unwrap();
    running.await.unwrap();
}
