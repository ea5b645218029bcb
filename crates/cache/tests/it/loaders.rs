//! Loads: one at a time, whatever becomes of who asked for it, of the loader, and of its lease.

use std::time::Duration;

use cache::{Cache, LoadError, Loaded, Lookup, Policy, Source, Unavailable};
use deadpool_redis::redis::cmd;
use futures_util::future::join_all;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use uuid::Uuid;

use crate::counted::{self, count};
use crate::server::{Server, connect};
use crate::shelf::{
    AWAITED, BYPASSED, COLLAPSED, HIT, LOADED, STORED, Shelf, found, lasting, process, read, redis, settings,
    version,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_a_missing_entry_share_one_load() {
    let rows = Shelf::<1>::default();
    let (one, other) = (rows.behind(&redis()).await, rows.behind(&redis()).await);
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    rows.slow(Duration::from_millis(20));
    let readers = (0..64)
        .flat_map(|_| [one.clone(), other.clone()])
        .map(|shelf| tokio::spawn(async move { read(&shelf, key).await.unwrap() }));
    let mut loaded = 0;
    for answer in join_all(readers.collect::<Vec<_>>()).await {
        let (version, _, how) = answer.unwrap();
        assert_eq!(version, 1);
        assert!([STORED, COLLAPSED, AWAITED, HIT].contains(&how), "{how:?}");
        loaded += usize::from(how == STORED);
    }
    assert_eq!((rows.loads(), loaded), (1, 1));
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_take_the_load_along() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let gate = rows.gate();
    let caller = tokio::spawn({
        let shelf = shelf.clone();
        async move { read(&shelf, key).await }
    });
    gate.reached.acquire().await.unwrap().forget();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    gate.open.add_permits(1);
    testkit::eventually("the entry is stored", async || {
        let (_, _, how) = read(&shelf, key).await?;
        (how == HIT).then_some(())
    })
    .await;
    assert_eq!(rows.loads(), 1);
}

#[tokio::test]
async fn a_loader_that_panics_is_an_error_and_leaves_no_lease() {
    let rows = Shelf::<1>::default();
    let (one, other) = (rows.behind(&redis()).await, rows.behind(&redis()).await);
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    rows.breaks("panic");
    let refused = one.get(&key).await.unwrap_err();
    assert!(matches!(refused, Unavailable::Failed(cause) if cause.to_string().contains("panicked")));
    assert_eq!(rows.running().0, 0);
    rows.heals();
    // At once in another process, and within a second in the one that remembers the error.
    assert_eq!(read(&other, key).await, found(1, "mug", STORED));
    assert_eq!(read(&one, key).await, found(1, "mug", HIT));
}

#[tokio::test]
async fn a_load_that_takes_too_long_is_cancelled() {
    let rows = Shelf::<1>::default();
    let policy = Policy {
        load_limit: Duration::from_millis(100),
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let _gate = rows.gate();
    assert!(matches!(shelf.get(&key).await, Err(Unavailable::TooSlow)));
    assert_eq!(rows.running().0, 0, "the loader was dropped");
    testkit::eventually("it is loaded again", async || {
        let Ok(Lookup::Found(entry)) = shelf.get(&key).await else {
            return None;
        };
        assert_eq!(entry.version, version(1));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_lease_gets_what_its_holder_stores() {
    let rows = Shelf::<1>::default();
    let (one, other) = (rows.behind(&redis()).await, rows.behind(&redis()).await);
    // A lease lasts 250 ms here, and on a busy machine that may be too short for the holder.
    testkit::eventually("a reader got what another process loaded", async || {
        let key = Uuid::now_v7();
        rows.put(key, 1, "mug");
        let gate = rows.gate();
        let holder = tokio::spawn({
            let shelf = one.clone();
            async move { read(&shelf, key).await }
        });
        gate.reached.acquire().await.unwrap().forget();
        let waiter = tokio::spawn({
            let shelf = other.clone();
            async move { read(&shelf, key).await }
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        gate.open.add_permits(1);
        holder.await.unwrap();
        let (version, _, how) = waiter.await.unwrap()?;
        assert_eq!(version, 1);
        (how == AWAITED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lease_whose_holder_is_too_slow_is_contended_for_again() {
    counted::listen();
    let rows = Shelf::<1>::default();
    let (one, other) = (rows.behind(&redis()).await, rows.behind(&redis()).await);
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let gate = rows.gate();
    let holder = tokio::spawn({
        let shelf = one.clone();
        async move { read(&shelf, key).await }
    });
    gate.reached.acquire().await.unwrap().forget();
    let rejected = count("cache_populates_total", &["shelf", "token"]);
    rows.put(key, 2, "cup");
    // The lease ends after 250 ms, and the other process loads.
    assert_eq!(read(&other, key).await, found(2, "cup", STORED));
    gate.open.add_permits(1);
    // The holder began before, and may have what was true then; it is not stored.
    assert_eq!(holder.await.unwrap(), found(1, "mug", LOADED));
    assert_eq!(read(&one, key).await, found(2, "cup", HIT));
    assert!(count("cache_populates_total", &["shelf", "token"]) > rejected);
}

#[tokio::test]
async fn a_lease_lives_at_most_half_of_what_its_request_has_left() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    // Loads take a second, so that a lease may live four.
    rows.slow(Duration::from_secs(1));
    read(&shelf, Uuid::now_v7()).await;
    for (left, shortest, longest) in [(10_000, 1_001, 4_500), (2_000, 1, 1_000)] {
        let key = Uuid::now_v7();
        let gate = rows.gate();
        let shelf = shelf.within(Duration::from_millis(left));
        let holder = tokio::spawn(async move { read(&shelf, key).await });
        gate.reached.acquire().await.unwrap().forget();
        let mut redis = connect(&redis());
        let until: u64 = cmd("HGET")
            .arg(format!("c1:{{shelf:{key}}}:c"))
            .arg("tok_exp")
            .query(&mut redis)
            .unwrap();
        let (seconds, micros): (u64, u64) = cmd("TIME").query(&mut redis).unwrap();
        let lives = until.saturating_sub(seconds * 1_000 + micros / 1_000);
        assert!(
            (shortest..=longest).contains(&lives),
            "{left} ms left: {lives} ms"
        );
        gate.open.add_permits(1);
        holder.await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_whose_holder_is_gone_is_contended_for_again() {
    let rows = Shelf::<1>::default();
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let gate = rows.gate();
    // Its own runtime is its process; dropping it kills it in the middle of a load.
    let process = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let dying = process.spawn({
        let rows = rows.clone();
        async move {
            let shelf = rows.behind(&redis()).await;
            read(&shelf, key).await
        }
    });
    gate.reached.acquire().await.unwrap().forget();
    process.shutdown_background();
    assert!(dying.await.is_err());
    let shelf = rows.behind(&redis()).await;
    assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));
    assert_eq!(rows.loads(), 2);
}

#[tokio::test]
async fn a_redis_that_does_not_know_the_scripts_is_taught_them() {
    let server = Server::start(&[]);
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&server.url()).await;
    for number in 1..4 {
        let key = Uuid::now_v7();
        rows.put(key, number, "mug");
        assert_eq!(read(&shelf, key).await, found(number, "mug", STORED));
        assert_eq!(read(&shelf, key).await, found(number, "mug", HIT));
        server.ask::<()>(&["SCRIPT", "FLUSH"]);
        rows.put(key, number + 1, "cup");
        shelf.invalidate(&key, version(number + 1)).await;
        assert_eq!(read(&shelf, key).await, found(number + 1, "cup", STORED));
        server.ask::<()>(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test]
async fn what_is_too_large_is_passed_through() {
    counted::listen();
    let rows = Shelf::<1>::default();
    let policy = Policy {
        largest_body: 3,
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let (small, large) = (Uuid::now_v7(), Uuid::now_v7());
    rows.put(small, 1, "mug");
    rows.put(large, 1, "teapot");
    let passed = count("cache_populates_total", &["shelf", "too_large"]);
    for how in [STORED, HIT] {
        assert_eq!(read(&shelf, small).await, found(1, "mug", how));
        assert_eq!(read(&shelf, large).await, found(1, "teapot", LOADED));
    }
    assert!(count("cache_populates_total", &["shelf", "too_large"]) >= passed + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_what_is_too_large_no_process_waits_for_another() {
    counted::listen();
    let rows = Shelf::<1>::default();
    let policy = Policy {
        largest_body: 3,
        ..lasting()
    };
    let shelves = [
        rows.behind_with(&redis(), policy).await,
        rows.behind_with(&redis(), policy).await,
    ];
    let key = Uuid::now_v7();
    rows.put(key, 1, "teapot");
    for shelf in &shelves {
        assert_eq!(read(shelf, key).await, found(1, "teapot", LOADED));
    }
    let apart = || count("cache_loads_total", &["shelf", "too_large"]);
    let before = apart();
    let gate = rows.gate();
    let waiting = tokio::spawn({
        let shelf = shelves[0].clone();
        async move { read(&shelf, key).await }
    });
    gate.reached.acquire().await.unwrap().forget();
    // While one process still loads.
    assert_eq!(read(&shelves[1], key).await, found(1, "teapot", LOADED));
    assert!(!waiting.is_finished());
    gate.open.add_permits(1);
    assert_eq!(waiting.await.unwrap(), found(1, "teapot", LOADED));
    // Without a lease: with one, the other would have waited until it was over. Another test counts one at most.
    assert!(apart() >= before + 2);
}

/// Rows that say in which trace they were loaded.
struct Traces;

impl Source for Traces {
    const NAMESPACE: &'static str = "traces";
    const SCHEMA: u16 = 1;
    type Key = Uuid;

    async fn load(&self, _: &Uuid) -> Result<Option<Loaded>, LoadError> {
        let trace = Context::map_current(|context| context.span().span_context().trace_id());
        Ok(Some(Loaded {
            version: version(1),
            mark: 0,
            body: trace.to_string().into(),
        }))
    }
}

#[tokio::test]
async fn a_load_is_in_the_trace_of_the_request_that_began_it() {
    let cache: Cache = process(&settings(&redis())).await;
    let traces = cache.namespace(Traces, lasting()).unwrap();
    let trace = TraceId::from(7);
    let caller = SpanContext::new(
        trace,
        SpanId::from(7),
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::NONE,
    );
    let request = Context::new().with_remote_span_context(caller);
    let found = traces.get(&Uuid::now_v7()).with_context(request).await.unwrap();
    assert!(matches!(found, Lookup::Found(entry) if entry.body == trace.to_string()));
}

struct Names;

impl Source for Names {
    const NAMESPACE: &'static str = "names";
    const SCHEMA: u16 = 1;
    type Key = String;

    async fn load(&self, name: &String) -> Result<Option<Loaded>, LoadError> {
        Ok(Some(Loaded {
            version: version(1),
            mark: 0,
            body: name.clone().into(),
        }))
    }
}

#[tokio::test]
async fn what_has_too_long_a_key_is_passed_through() {
    let cache: Cache = process(&settings(&redis())).await;
    let names = cache.namespace(Names, lasting()).unwrap();
    let long = "x".repeat(1000);
    for _ in 0..2 {
        let Lookup::Found(entry) = names.get(&long).await.unwrap() else {
            panic!("it exists")
        };
        assert_eq!(&entry.body[..], long.as_bytes());
        assert_eq!(entry.status, BYPASSED);
    }
    names.invalidate(&long, version(2)).await;
}
