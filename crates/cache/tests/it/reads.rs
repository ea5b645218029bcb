use std::time::Duration;

use cache::Policy;
use uuid::Uuid;

use crate::shelf::{BYPASSED, HIT, MISSED, STORED, Shelf, found, lasting, read, redis, version};

#[tokio::test]
async fn the_second_read_is_a_hit_in_every_process() {
    let rows = Shelf::<1>::default();
    let (one, other) = (rows.behind(&redis()).await, rows.behind(&redis()).await);
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");

    assert_eq!(read(&one, key).await, found(1, "mug", STORED));
    assert_eq!(read(&one, key).await, found(1, "mug", HIT));
    assert_eq!(read(&other, key).await, found(1, "mug", HIT));
    assert_eq!(rows.loads(), 1);
}

#[tokio::test]
async fn a_write_is_visible_to_the_next_read() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;

    rows.put(key, 2, "cup");
    shelf.invalidate(&key, version(2)).await;
    assert_eq!(read(&shelf, key).await, found(2, "cup", STORED));
    assert_eq!(read(&shelf, key).await, found(2, "cup", HIT));

    // Late and repeated invalidations change nothing.
    shelf.invalidate(&key, version(2)).await;
    shelf.invalidate(&key, version(1)).await;
    assert_eq!(read(&shelf, key).await, found(2, "cup", HIT));
}

#[tokio::test]
async fn a_load_from_before_a_commit_is_not_stored_after_its_invalidation() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");

    let gate = rows.gate();
    let reader = tokio::spawn({
        let shelf = shelf.clone();
        async move { read(&shelf, key).await }
    });
    gate.reached.acquire().await.unwrap().forget();
    rows.put(key, 2, "cup");
    shelf.invalidate(&key, version(2)).await;
    gate.open.add_permits(1);

    // The reader that began before may see what was true then.
    assert_eq!(reader.await.unwrap(), found(1, "mug", MISSED));
    assert_eq!(read(&shelf, key).await, found(2, "cup", STORED));
}

#[tokio::test]
async fn an_entry_ends_with_its_time_to_live() {
    let rows = Shelf::<1>::default();
    let policy = Policy {
        soft_ttl: Duration::from_millis(50),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;
    // Committed, and its invalidation lost.
    rows.put(key, 2, "cup");

    testkit::eventually("the old version is gone", async || {
        let (version, ..) = read(&shelf, key).await?;
        (version == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn during_a_rolling_update_the_newer_release_s_entry_stays() {
    let rows = Shelf::<1>::default();
    let old = rows.behind(&redis()).await;
    let new = rows.in_schema::<2>().behind(&redis()).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");

    assert_eq!(read(&old, key).await, found(1, "mug", STORED));
    assert_eq!(read(&new, key).await, found(1, "mug", STORED));
    for _ in 0..3 {
        assert_eq!(read(&old, key).await, found(1, "mug", BYPASSED));
        assert_eq!(read(&new, key).await, found(1, "mug", HIT));
    }
}
