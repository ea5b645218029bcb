//! The comparison of a few hits with their source: what it counts as wrong, and what it does not.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache::{Cache, CacheArgs, LoadError, Loaded, Lookup, Namespace, Pages, Source};

use crate::counted::{self, count};
use crate::server::Server;
use crate::shelf::{lasting, process, settings, version};

const NAMES: [&str; 4] = ["replaced", "lost", "late", "lagging"];

/// One row, and a name of its own, so that no other test counts here.
#[derive(Clone, Default)]
struct Row<const NAME: usize>(Arc<Mutex<Option<Loaded>>>);

impl<const NAME: usize> Row<NAME> {
    fn put(&self, number: i64, body: &'static str) {
        *self.0.lock().unwrap() = Some(Loaded {
            version: version(number),
            mark: 0,
            body: body.as_bytes().into(),
        });
    }
}

impl<const NAME: usize> Source for Row<NAME> {
    const NAMESPACE: &'static str = NAMES[NAME];
    const SCHEMA: u16 = 1;
    type Key = u8;

    async fn load(&self, _: &u8) -> Result<Option<Loaded>, LoadError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A process that compares every hit, and gives an invalidation so long to arrive.
struct Audited<const NAME: usize> {
    server: Server,
    cache: Cache,
    row: Row<NAME>,
    rows: Namespace<Row<NAME>>,
}

const BOUND: Duration = Duration::from_secs(2);

/// Of a process that compares every hit.
fn auditing(server: &Server) -> CacheArgs {
    CacheArgs {
        cache_audit_every: 1,
        cache_staleness_bound: BOUND,
        ..settings(&server.url())
    }
}

impl<const NAME: usize> Audited<NAME> {
    /// Its one row was read, and compared.
    async fn start() -> Audited<NAME> {
        counted::listen();
        let server = Server::start(&[]);
        let cache = process(&auditing(&server)).await;
        let row = Row::default();
        let audited = Audited {
            server,
            rows: cache.namespace(row.clone(), lasting()).unwrap(),
            cache,
            row,
        };
        audited.row.put(1, "mug");
        audited.until("match").await;
        assert_eq!((audited.count("changed"), audited.count("mismatch")), (0, 0));
        audited
    }

    fn count(&self, result: &str) -> u64 {
        count("cache_audits_total", &[NAMES[NAME], result])
    }

    async fn read(&self) -> String {
        match self.rows.get(&0).await.unwrap() {
            Lookup::Found(entry) => String::from_utf8(entry.body.to_vec()).unwrap(),
            Lookup::Absent => "nothing".to_owned(),
        }
    }

    /// Reads until a comparison ended so.
    async fn until(&self, result: &str) {
        let before = self.count(result);
        testkit::eventually(result, async || {
            self.read().await;
            (self.count(result) > before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn another_body_of_the_same_version_is_a_mismatch() {
    let audited = Audited::<0>::start().await;
    // Behind the header.
    audited
        .server
        .ask::<u64>(&["SETRANGE", "c1:{replaced:0}:d", "32", "jug"]);
    assert_eq!(audited.read().await, "jug");
    testkit::eventually("it was found", async || {
        (audited.count("mismatch") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_still_old_after_the_bound_is_a_mismatch() {
    let audited = Audited::<1>::start().await;
    // Somebody says that all invalidations have arrived, and is wrong.
    let mut tail = audited.cache.tail();
    let publisher = tokio::spawn(async move {
        tail.look().await.unwrap();
        loop {
            tail.publish(SystemTime::now(), Duration::ZERO, 1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    testkit::eventually("the audit found it", async || {
        // Before the watermark is seen to rise, an old entry is loaded again.
        if audited.read().await != "mug" {
            audited.row.put(1, "mug");
            audited.server.ask::<u8>(&["DEL", "c1:{lost:0}:d"]);
            audited.read().await;
        }
        audited.row.put(2, "cup");
        (audited.count("mismatch") > 0).then_some(())
    })
    .await;
    publisher.abort();
}

#[tokio::test]
async fn what_is_invalidated_within_the_bound_is_none() {
    let audited = Audited::<2>::start().await;
    testkit::eventually("an old hit is being compared", async || {
        audited.row.put(2, "cup");
        if audited.read().await == "mug" {
            return Some(());
        }
        // Too old by itself, it was loaded again.
        audited.row.put(1, "mug");
        audited.server.ask::<u8>(&["DEL", "c1:{late:0}:d"]);
        audited.read().await;
        None
    })
    .await;
    audited.rows.invalidate(&0, version(2)).await;
    testkit::eventually("it was compared again", async || {
        (audited.count("changed") > 0).then_some(())
    })
    .await;
    assert_eq!(audited.count("mismatch"), 0);
}

/// A list of one page, and how a process compares its hits.
#[derive(Clone)]
struct Page(Arc<Mutex<&'static str>>);

impl Pages for Page {
    const NAMESPACE: &'static str = "audited-list";
    const SCHEMA: u16 = 1;
    type Page = u8;

    async fn load(&self, _: &u8) -> Result<Bytes, LoadError> {
        Ok((*self.0.lock().unwrap()).into())
    }
}

#[tokio::test]
async fn a_page_of_a_list_that_changed_is_a_mismatch_only_while_it_can_be_found() {
    counted::listen();
    let server = Server::start(&[]);
    let page = Page(Arc::new(Mutex::new("a")));
    let list = process(&auditing(&server))
        .await
        .collection(page.clone(), lasting())
        .unwrap();
    let counted = |result: &str| count("cache_audits_total", &["audited-list", result]);
    for (text, invalidated, expected) in [("a b", true, "changed"), ("a b c", false, "mismatch")] {
        testkit::eventually("an old page is being compared", async || {
            let before = *page.0.lock().unwrap();
            list.get(&1).await.unwrap();
            *page.0.lock().unwrap() = text;
            if list.get(&1).await.unwrap().body == before {
                return Some(());
            }
            // Too old by itself, it was loaded again.
            *page.0.lock().unwrap() = before;
            server.ask::<()>(&["FLUSHALL"]);
            None
        })
        .await;
        if invalidated {
            assert!(list.invalidate().await);
        }
        testkit::eventually(expected, async || (counted(expected) > 0).then_some(())).await;
        assert_eq!(counted("mismatch") > 0, !invalidated);
    }
}

#[tokio::test]
async fn an_entry_that_is_newer_than_what_its_source_says_is_none() {
    let audited = Audited::<3>::start().await;
    audited.row.put(2, "cup");
    audited.rows.invalidate(&0, version(2)).await;
    assert_eq!(audited.read().await, "cup");
    // As a replica that lags would answer.
    audited.row.put(1, "mug");
    audited.until("changed").await;
    assert_eq!(audited.count("mismatch"), 0);
}
