//! Neither up nor down: a source that hangs or has a queue, a Redis that answers now and then, is a replica, or was set back.

use std::time::Duration;

use cache::{Cache, CacheArgs, LoadError, Loaded, Lookup, Policy, Source, Unavailable};
use deadpool_redis::redis::cmd;
use testkit::{Mood, Proxy};
use uuid::Uuid;

use crate::server::{Server, connect};
use crate::shelf::{
    BYPASSED, HIT, LOCAL, ON_ERROR, RELOADED, STORED, Shelf, found, lasting, process, read, redis, settings,
    until_hit, version,
};
use crate::tls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_loaded_after_a_long_wait_for_its_turn_is_stored() {
    // On a busy machine its turn may come too late, or the load may take longer than its lease lives.
    testkit::eventually("one was stored", async || {
        let rows = Shelf::<1>::default();
        let cache = Cache::start(&settings(&redis()), 1).await.unwrap();
        let shelf = rows.of(&cache, lasting());
        let keys = [(); 2].map(|()| Uuid::now_v7());
        for key in keys {
            rows.put(key, 1, "mug");
        }
        let gate = rows.gate();
        let [first, second] = keys.map(|key| {
            let shelf = shelf.clone();
            async move { shelf.get(&key).await }
        });
        let first = tokio::spawn(first);
        gate.reached.acquire().await.unwrap().forget();
        let second = tokio::spawn(second);
        // Longer than a lease lives here, and shorter than a load waits.
        tokio::time::sleep(Duration::from_millis(400)).await;
        gate.open.add_permits(1);
        first.await.unwrap().unwrap();
        matches!(second.await.unwrap(), Ok(Lookup::Found(entry)) if entry.status == STORED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_has_something_older_does_not_wait_for_a_source_that_hangs() {
    let rows = Shelf::<1>::default();
    let policy = Policy {
        soft_ttl: Duration::from_millis(10),
        stale_while_revalidate: Duration::ZERO,
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;
    let gate = rows.gate();
    testkit::eventually("it is too old", async || {
        (read(&shelf, key).await == found(1, "mug", ON_ERROR)).then_some(())
    })
    .await;
    gate.reached.acquire().await.unwrap().forget();
    // Each would wait for 250 ms, and the load hangs for 5 s.
    for _ in 0..50 {
        assert_eq!(read(&shelf, key).await, found(1, "mug", ON_ERROR));
    }
    assert_eq!(rows.running().0, 1, "it is slow, and still the same load");
    rows.put(key, 2, "cup");
    gate.open.add_permits(1);
    testkit::eventually("it is loaded again", async || {
        (read(&shelf, key).await == found(2, "cup", RELOADED)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_command_that_fails_is_answered_from_memory() {
    let proxy = Proxy::before(&redis()).await.unwrap();
    let rows = Shelf::<1>::default();
    let hurried = CacheArgs {
        redis_command_timeout: Duration::from_millis(200),
        ..settings(proxy.url())
    };
    let shelf = rows.of(&process(&hurried).await, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    until_hit(&shelf, key).await;
    // Two failures are too few for the breaker.
    proxy.set(Mood::Silent);
    assert_eq!(read(&shelf, key).await, found(1, "mug", BYPASSED));
    assert_eq!(read(&shelf, key).await, found(1, "mug", LOCAL));
    proxy.set(Mood::Open);
    until_hit(&shelf, key).await;
    // What Redis has answered is not remembered beside it.
    proxy.set(Mood::Silent);
    rows.put(key, 2, "cup");
    assert_eq!(read(&shelf, key).await, found(2, "cup", BYPASSED));
}

#[tokio::test]
async fn what_was_being_loaded_during_a_write_is_not_remembered() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind("redis://127.0.0.1:1").await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let gate = rows.gate();
    let reader = tokio::spawn({
        let shelf = shelf.clone();
        async move { read(&shelf, key).await }
    });
    gate.reached.acquire().await.unwrap().forget();
    rows.put(key, 2, "cup");
    assert!(!shelf.invalidate(&key, version(2)).await);
    gate.open.add_permits(1);
    // It began before.
    assert_eq!(reader.await.unwrap(), found(1, "mug", BYPASSED));
    assert_eq!(read(&shelf, key).await, found(2, "cup", BYPASSED));
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_left_for_who_is_the_master_now() {
    let (former, master) = (Server::start(&[]), Server::start(&[]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redis-url");
    std::fs::write(&file, former.url()).unwrap();
    let cache = process(&tls::settings(&["--redis-url-file", file.to_str().unwrap()])).await;
    let rows = Shelf::<1>::default();
    let shelf = rows.of(&cache, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));
    let mut tail = cache.tail();
    let before = tail.look().await.unwrap().identity;

    // As behind a name that shows the master: no connection ends.
    former.ask::<()>(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    std::fs::write(&file, master.url()).unwrap();
    rows.put(key, 2, "cup");
    testkit::eventually("the master acknowledged it", async || {
        shelf.invalidate(&key, version(2)).await.then_some(())
    })
    .await;
    assert_eq!(read(&shelf, key).await.unwrap().0, 2);
    let after = testkit::eventually("the tail looks at the master", async || {
        let seen = tail.look().await.ok()?;
        match shelf.reapply(&mut tail, &[(key, version(2))]).await {
            Ok(()) => Some(seen.identity),
            Err(_) => None,
        }
    })
    .await;
    assert_ne!(before, after);
}

#[tokio::test]
async fn an_entry_from_the_future_is_loaded_again() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;
    // Behind the schema and the version are the times: as if Redis's clock had been set back an hour since.
    let mut redis = connect(&redis());
    let (now, _): (u64, u64) = cmd("TIME").query(&mut redis).unwrap();
    let later = (now + 3_600) * 1_000;
    let times = [later.to_be_bytes(), (later + 30_000).to_be_bytes()].concat();
    let data = format!("c1:{{shelf:{key}}}:d");
    let _: u64 = cmd("SETRANGE")
        .arg(data)
        .arg(10)
        .arg(times)
        .query(&mut redis)
        .unwrap();
    assert_eq!(read(&shelf, key).await, found(1, "mug", RELOADED));
    assert_eq!(read(&shelf, key).await, found(1, "mug", HIT));
}

struct Hasty;

impl Source for Hasty {
    const NAMESPACE: &'static str = "hasty";
    const SCHEMA: u16 = 1;
    type Key = u8;

    fn load(&self, key: &u8) -> impl Future<Output = Result<Option<Loaded>, LoadError>> + Send {
        assert_eq!(*key, 7, "the loader panics, as the test wants");
        async { Ok(None) }
    }
}

#[tokio::test]
async fn a_loader_that_panics_at_once_is_an_error_too() {
    let server = Server::start(&[]);
    let cache = process(&settings(&server.url())).await;
    let hasty = cache.namespace(Hasty, lasting()).unwrap();
    let refused = hasty.get(&1).await.unwrap_err();
    assert!(matches!(refused, Unavailable::Failed(cause) if cause.to_string().contains("panicked")));
    assert_eq!(hasty.get(&7).await.unwrap(), Lookup::Absent);
}
