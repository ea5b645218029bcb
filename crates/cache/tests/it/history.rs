//! A history of reads under writes and faults: no read that begins after an invalidation was applied is answered with an
//! older version. While a process cannot reach Redis, what it remembers itself may be a second old.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache::{CacheArgs, LoadError, Loaded, Lookup, Namespace, Policy, Source, Version};
use rustix::process::Signal;

use crate::server::Server;
use crate::shelf::{LOCAL, process, settings};

const KEYS: usize = 40;
/// The whole history lasts a little longer than its faults.
const READS: u64 = 100_000;

/// What is committed, and what is known to be invalidated, by key.
struct Truth {
    committed: [AtomicI64; KEYS],
    /// Each with the time from which on it holds.
    applied: Mutex<HashMap<usize, Vec<(Instant, i64)>>>,
}

impl Truth {
    fn applied(&self, key: usize, version: i64) {
        let mut applied = self.applied.lock().unwrap();
        let known = applied.entry(key).or_default();
        known.push((Instant::now(), version));
        // A read looks back a second, and no further.
        if known.len() > 2_000 {
            known.drain(..1_000);
        }
    }

    /// The version below which a read that begins now, or began so long ago, must not be answered.
    fn floor(&self, key: usize, before: Instant) -> i64 {
        let applied = self.applied.lock().unwrap();
        let known = applied.get(&key).into_iter().flatten();
        let known = known.filter(|(since, _)| *since <= before);
        known.map(|(_, version)| *version).max().unwrap_or(0)
    }
}

struct Rows {
    truth: Arc<Truth>,
    /// The negative control: a source that reads a replica which lags.
    lags: bool,
}

impl Source for Rows {
    const NAMESPACE: &'static str = "history";
    const SCHEMA: u16 = 1;
    type Key = usize;

    async fn load(&self, key: &usize) -> Result<Option<Loaded>, LoadError> {
        let version = self.truth.committed[*key].load(Ordering::SeqCst);
        let version = if self.lags { (version - 3).max(1) } else { version };
        // The answer is on its way while others commit.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Some(Loaded {
            version: version.try_into()?,
            mark: 0,
            body: version.to_string().into(),
        }))
    }
}

struct History {
    truth: Arc<Truth>,
    stop: AtomicBool,
    reads: AtomicU64,
    stale: AtomicU64,
    failed: AtomicU64,
    local: AtomicU64,
}

async fn read(history: &History, shelf: &Namespace<Rows>, reader: usize) {
    while !history.stop.load(Ordering::SeqCst) {
        // Some keys are hotter.
        let key = rand::random_range(0..if reader.is_multiple_of(2) { KEYS } else { 4 });
        let begins = Instant::now();
        let answer = shelf.get(&key).await;
        history.reads.fetch_add(1, Ordering::SeqCst);
        match answer {
            Ok(Lookup::Found(entry)) => {
                assert_eq!(entry.body, entry.version.get().to_string());
                let local = entry.status.header_value() == LOCAL;
                history.local.fetch_add(u64::from(local), Ordering::SeqCst);
                let since = if local {
                    begins - Duration::from_millis(1_100)
                } else {
                    begins
                };
                if entry.version.get() < history.truth.floor(key, since) {
                    history.stale.fetch_add(1, Ordering::SeqCst);
                }
            }
            Ok(Lookup::Absent) => panic!("every row exists"),
            Err(error) => {
                // Shed: the faults here leave few loads at once.
                history.failed.fetch_add(1, Ordering::SeqCst);
                eprintln!("a read failed: {error}");
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Commits, and invalidates until it is acknowledged, as the tail does.
async fn write(history: &History, cache: &cache::Cache, shelf: &Namespace<Rows>) {
    let mut tail = cache.tail();
    while !history.stop.load(Ordering::SeqCst) {
        let key = rand::random_range(0..KEYS);
        let version = history.truth.committed[key].fetch_add(1, Ordering::SeqCst) + 1;
        let old = [(key, Version::try_from(version).unwrap())];
        loop {
            if tail.look().await.is_ok() && shelf.reapply(&mut tail, &old).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            if history.stop.load(Ordering::SeqCst) {
                return;
            }
        }
        history.truth.applied(key, version);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn run(server: &mut Server, lags: bool, faults: bool) -> Arc<History> {
    let truth = Arc::new(Truth {
        committed: std::array::from_fn(|_| AtomicI64::new(1)),
        applied: Mutex::default(),
    });
    let history = Arc::new(History {
        truth: Arc::clone(&truth),
        stop: AtomicBool::new(false),
        reads: AtomicU64::new(0),
        stale: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        local: AtomicU64::new(0),
    });
    let mut running = Vec::new();
    // Two processes.
    for _ in 0..2 {
        let hurried = CacheArgs {
            redis_command_timeout: Duration::from_millis(25),
            ..settings(&server.url())
        };
        let cache = process(&hurried).await;
        let policy = Policy {
            soft_ttl: Duration::from_millis(50),
            ..Policy::default()
        };
        let rows = Rows {
            truth: Arc::clone(&truth),
            lags,
        };
        let shelf = cache.namespace(rows, policy);
        for reader in 0..8 {
            let (history, shelf) = (Arc::clone(&history), shelf.clone());
            running.push(tokio::spawn(async move { read(&history, &shelf, reader).await }));
        }
        let history = Arc::clone(&history);
        running.push(tokio::spawn(async move { write(&history, &cache, &shelf).await }));
    }
    if faults {
        for fault in 0.. {
            tokio::time::sleep(Duration::from_millis(300)).await;
            match fault % 5 {
                0 => server.ask::<()>(&["FLUSHALL"]),
                1 => server.replace(),
                2 => server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]),
                3 => {
                    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
                    server.signal(Signal::STOP);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    server.signal(Signal::CONT);
                }
                // Evicted: the control keys alone.
                _ => evict(server),
            }
            if fault >= 9 && history.reads.load(Ordering::SeqCst) >= READS {
                break;
            }
        }
    } else {
        testkit::eventually(
            "something was read that is older than its invalidation",
            async || (history.stale.load(Ordering::SeqCst) > 0).then_some(()),
        )
        .await;
    }
    history.stop.store(true, Ordering::SeqCst);
    for task in running {
        task.await.unwrap();
    }
    history
}

fn evict(server: &Server) {
    for key in 0..KEYS {
        server.ask::<()>(&["DEL", &format!("c1:{{history:{key}}}:c")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_older_than_an_applied_invalidation() {
    let mut server = Server::start(&[("maxmemory-policy", "noeviction")]);
    let history = run(&mut server, false, true).await;
    let [reads, stale, failed, local] = [&history.reads, &history.stale, &history.failed, &history.local]
        .map(|count| count.load(Ordering::SeqCst));
    eprintln!("{reads} reads, {stale} stale, {failed} failed, {local} from the process's own layer");
    assert!(reads >= READS);
    assert_eq!((stale, failed), (0, 0));
}

/// The negative control: with a loader that reads a replica, the checker finds stale reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lags_is_caught() {
    let mut server = Server::start(&[]);
    let history = run(&mut server, true, false).await;
    assert!(history.stale.load(Ordering::SeqCst) > 0);
}
