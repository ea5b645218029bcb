use std::time::Duration;

use cache::{CacheArgs, Lookup, Policy};
use deadpool_redis::redis::cmd;
use uuid::Uuid;

use crate::counted::{self, count};
use crate::server::connect;
use crate::shelf::{
    BYPASSED, HIT, LOADED, ON_ERROR, RELOADED, STALE, STORED, Shelf, found, lasting, process, read, redis,
    settings, version,
};

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
    assert_eq!(reader.await.unwrap(), found(1, "mug", LOADED));
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

#[tokio::test]
async fn past_its_soft_expiry_an_entry_is_served_at_once_and_refreshed_behind() {
    let rows = Shelf::<1>::default();
    let policy = Policy {
        soft_ttl: Duration::from_millis(300),
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;
    // Committed, and its invalidation lost.
    rows.put(key, 2, "cup");
    // No reader waits for a load: it would be told so.
    testkit::eventually("the new version is there", async || {
        let (version, body, how) = read(&shelf, key).await?;
        assert!(how == HIT || how == STALE, "{how:?}");
        assert!((version, &*body) == (1, "mug") || (version, &*body) == (2, "cup"));
        (version == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn shortly_before_its_soft_expiry_an_entry_is_refreshed_behind() {
    counted::listen();
    let rows = Shelf::<1>::default();
    let policy = Policy {
        // A load of 1 ms counts as one of 30 s.
        eagerness: 30_000.0,
        ..Policy::default()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let before = count("cache_loads_total", &["shelf", "early"]);
    read(&shelf, key).await;
    rows.put(key, 2, "cup");
    testkit::eventually("the new version is there", async || {
        let (version, _, how) = read(&shelf, key).await?;
        assert_eq!(how, HIT);
        (version == 2).then_some(())
    })
    .await;
    assert!(count("cache_loads_total", &["shelf", "early"]) > before);
}

#[tokio::test]
async fn what_does_not_exist_is_remembered_until_it_is_made() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    let key = Uuid::now_v7();
    for _ in 0..3 {
        assert_eq!(read(&shelf, key).await, None);
    }
    assert_eq!(rows.loads(), 1);
    rows.put(key, 1, "mug");
    shelf.invalidate(&key, version(1)).await;
    assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));

    rows.remove(key);
    shelf.invalidate(&key, version(2)).await;
    assert_eq!(read(&shelf, key).await, None);
    assert_eq!(read(&shelf, key).await, None);
    assert_eq!(rows.loads(), 3);
    // Made again, and its version goes on.
    rows.put(key, 3, "jug");
    shelf.invalidate(&key, version(3)).await;
    assert_eq!(read(&shelf, key).await, found(3, "jug", STORED));
}

#[tokio::test]
async fn while_its_source_fails_an_entry_is_served_and_the_source_is_left_alone() {
    let rows = Shelf::<1>::default();
    let policy = Policy {
        soft_ttl: Duration::from_millis(1),
        stale_while_revalidate: Duration::ZERO,
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;
    rows.breaks("the database is down");
    testkit::eventually("the entry has expired", async || {
        (read(&shelf, key).await == found(1, "mug", ON_ERROR)).then_some(())
    })
    .await;
    let loads = rows.loads();
    let started = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(read(&shelf, key).await, found(1, "mug", ON_ERROR));
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(
        rows.loads() <= loads + 1 + seconds,
        "an error is remembered for a second"
    );

    // What was invalidated is not brought back.
    shelf.invalidate(&key, version(2)).await;
    assert!(shelf.get(&key).await.is_err());
    rows.put(key, 2, "cup");
    rows.heals();
    testkit::eventually("it is loaded again", async || {
        let Ok(Lookup::Found(entry)) = shelf.get(&key).await else {
            return None;
        };
        assert_eq!(entry.version, version(2));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn many_entries_are_read_in_the_order_of_their_keys() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    let keys: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for (number, key) in (1..).zip(&keys).filter(|(number, _)| number % 5 != 0) {
        rows.put(*key, number, "mug");
        // Some are there already.
        if number % 2 == 0 {
            read(&shelf, *key).await;
        }
    }
    for how in [STORED, HIT] {
        let found = shelf.get_many(&keys).await.unwrap();
        assert_eq!(found.len(), keys.len());
        for (number, lookup) in (1..).zip(found) {
            match lookup {
                Lookup::Absent => assert_eq!(number % 5, 0),
                Lookup::Found(entry) => {
                    assert_eq!(entry.version, version(number));
                    let expected = if number % 2 == 0 { HIT } else { how };
                    assert_eq!(entry.status, expected);
                }
            }
        }
    }
    assert_eq!(rows.loads(), 20);
    assert_eq!(shelf.get_many(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_deployment_reads_only_the_entries_of_its_scope() {
    let rows = Shelf::<1>::default();
    let scoped = |scope: &str| CacheArgs {
        cache_scope: scope.to_owned(),
        ..settings(&redis())
    };
    let blue = rows.of(&process(&scoped("blue")).await, lasting());
    let green = rows.of(&process(&scoped("green")).await, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    assert_eq!(read(&blue, key).await, found(1, "mug", STORED));
    assert_eq!(read(&green, key).await, found(1, "mug", STORED));
    assert_eq!(read(&blue, key).await, found(1, "mug", HIT));
}

#[tokio::test]
async fn what_expired_and_was_loaded_again_is_told_from_what_was_not_there() {
    let rows = Shelf::<1>::default();
    let policy = Policy {
        soft_ttl: Duration::from_millis(1),
        stale_while_revalidate: Duration::ZERO,
        ..lasting()
    };
    let shelf = rows.behind_with(&redis(), policy).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));
    testkit::eventually("the entry has expired", async || {
        (read(&shelf, key).await == found(1, "mug", RELOADED)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_nobody_can_read_is_replaced() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    // Of this release's schema, and fresh for years; or somebody's text.
    let entry = |version: i64| {
        let mut bytes = 1_u16.to_be_bytes().to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(1_u64.to_be_bytes());
        bytes.extend(9_000_000_000_000_u64.to_be_bytes());
        bytes.extend([0; 6]);
        bytes
    };
    let text = b"{\"sku\": \"MUG-1\", \"name\": \"Mug\"}".to_vec();
    for garbage in [entry(0), entry(-1), entry(1 << 53), entry(i64::MAX), text] {
        let key = Uuid::now_v7();
        rows.put(key, 7, "mug");
        cmd("SET")
            .arg(format!("c1:{{shelf:{key}}}:d"))
            .arg(&garbage)
            .query::<()>(&mut connect(&redis()))
            .unwrap();
        assert_eq!(read(&shelf, key).await, found(7, "mug", STORED), "{garbage:?}");
        assert_eq!(read(&shelf, key).await, found(7, "mug", HIT), "{garbage:?}");
    }
}
