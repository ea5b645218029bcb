//! Whoever re-applies invalidations, and what readers do while nobody does.

use std::time::{Duration, SystemTime};

use cache::{Cache, CacheArgs, TailError};
use uuid::Uuid;

use crate::counted::{self, count};
use crate::server::Server;
use crate::shelf::{
    HIT, ON_ERROR, RELOADED, STORED, Shelf, found, lasting, process, read, settings, version,
};

const BOUND: Duration = Duration::from_secs(2);

async fn bounded(server: &Server) -> Cache {
    process(&CacheArgs {
        cache_staleness_bound: BOUND,
        ..settings(&server.url())
    })
    .await
}

#[tokio::test]
async fn an_invalidation_that_was_lost_is_applied_again() {
    let server = Server::start(&[]);
    let rows = Shelf::<1>::default();
    let cache = process(&settings(&server.url())).await;
    let shelf = rows.of(&cache, lasting());
    let keys: Vec<Uuid> = (0..500).map(|_| Uuid::now_v7()).collect();
    for key in &keys {
        rows.put(*key, 1, "mug");
    }
    shelf.get_many(&keys).await.unwrap();
    for key in &keys {
        rows.put(*key, 2, "cup");
    }
    assert_eq!(read(&shelf, keys[7]).await, found(1, "mug", HIT));

    let old: Vec<_> = keys.iter().map(|key| (*key, version(2))).collect();
    let mut tail = cache.tail();
    assert!(
        matches!(shelf.reapply(&mut tail, &old).await, Err(TailError::NotConnected)),
        "a tail knows whom it writes to"
    );
    tail.look().await.unwrap();
    // Twice: it is idempotent, and the second time Redis has forgotten the script.
    for _ in 0..2 {
        shelf.reapply(&mut tail, &old).await.unwrap();
        server.ask::<()>(&["SCRIPT", "FLUSH"]);
    }
    for key in keys {
        assert_eq!(read(&shelf, key).await, found(2, "cup", STORED));
    }
}

#[tokio::test]
async fn a_tail_s_commands_are_measured() {
    counted::listen();
    let server = Server::start(&[]);
    let cache = process(&settings(&server.url())).await;
    let shelf = Shelf::<1>::default().of(&cache, lasting());
    let measured = |name| count("db_client_operation_duration_seconds", &["redis", name]);
    let before = ["INFO", "DEL", "EVALSHA"].map(measured);
    let mut tail = cache.tail();
    tail.look().await.unwrap();
    tail.withdraw().await.unwrap();
    shelf
        .reapply(&mut tail, &[(Uuid::now_v7(), version(2))])
        .await
        .unwrap();
    for (name, before) in ["INFO", "DEL", "EVALSHA"].into_iter().zip(before) {
        assert!(measured(name) > before, "{name}");
    }
}

#[tokio::test]
async fn another_redis_has_another_identity() {
    let mut server = Server::start(&[]);
    let cache = process(&settings(&server.url())).await;
    let mut tail = cache.tail();
    let first = tail.look().await.unwrap();
    assert_eq!(tail.look().await.unwrap(), first);
    assert_eq!(first.saves, None);
    let before = first.identity;
    tail.publish(SystemTime::now(), Duration::ZERO, 7).await.unwrap();
    assert_eq!(tail.look().await.unwrap().saves, Some(7));
    server.replace();
    assert!(tail.look().await.is_err(), "its connection was to the one before");
    let new = testkit::eventually("the new one answers", async || tail.look().await.ok()).await;
    let after = new.identity;
    assert_ne!(after, before);
    assert_eq!(new.saves, None, "it has forgotten everything");
    // Demoted and promoted again, it may have lost what was written meanwhile.
    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert_ne!(tail.look().await.unwrap().identity, after);
}

#[tokio::test]
async fn while_nobody_confirms_invalidations_old_entries_are_loaded_again() {
    let server = Server::start(&[]);
    let rows = Shelf::<1>::default();
    let shelf = rows.of(&bounded(&server).await, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));
    // Committed, and its invalidation lost.
    rows.put(key, 2, "cup");
    testkit::eventually("the bound has passed", async || {
        let (version, _, how) = read(&shelf, key).await?;
        assert!((version, how) == (1, HIT) || (version, how) == (2, RELOADED));
        (version == 2).then_some(())
    })
    .await;
    // And if they cannot be loaded, they are served all the same.
    rows.breaks("the database is down");
    testkit::eventually("the bound has passed again", async || {
        let (version, _, how) = read(&shelf, key).await?;
        assert!(version == 2 && (how == HIT || how == ON_ERROR), "{how:?}");
        (how == ON_ERROR).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_the_watermark_rises_old_entries_are_served_and_once_it_is_withdrawn_no_more() {
    let server = Server::start(&[]);
    let rows = Shelf::<1>::default();
    let cache = bounded(&server).await;
    let shelf = rows.of(&cache, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let publisher = tokio::spawn({
        let mut tail = cache.tail();
        async move {
            tail.look().await.unwrap();
            loop {
                tail.publish(SystemTime::now(), Duration::ZERO, 1).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    // Loaded once, then older than the bound and still a hit. The first look at the watermark is no rise, and a slow
    // machine may look too rarely: so not the first try has to succeed.
    testkit::eventually("an old entry is served", async || {
        let loads = rows.loads();
        let until = std::time::Instant::now() + BOUND * 3 / 2;
        while std::time::Instant::now() < until {
            read(&shelf, key).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (rows.loads() == loads && read(&shelf, key).await == found(1, "mug", HIT)).then_some(())
    })
    .await;

    publisher.abort();
    let mut tail = cache.tail();
    tail.look().await.unwrap();
    tail.withdraw().await.unwrap();
    rows.put(key, 2, "cup");
    testkit::eventually("it is loaded again", async || {
        let (version, ..) = read(&shelf, key).await?;
        (version == 2).then_some(())
    })
    .await;
}
