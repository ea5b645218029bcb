//! A history of reads under writes and faults: no read that begins after an invalidation was applied is answered with an
//! older version. While a process cannot reach Redis, what it remembers itself may be a second old.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache::{CacheArgs, CacheStatus, LoadError, Loaded, Lookup, Namespace, Policy, Source, Version};
use rustix::process::Signal;
use testkit::History;
use tokio::time::sleep;

use crate::server::Server;
use crate::shelf::{process, settings};

const KEYS: usize = 40;
/// The whole history lasts a little longer than its faults.
const READS: u64 = 100_000;
/// What a process remembers itself may be a second old, and be answered a moment later.
const REMEMBERED: Duration = Duration::from_millis(1_100);
const SHORT: Duration = Duration::from_millis(300);

/// What is committed: each key's version, and a log of all changes in their order.
struct Database {
    versions: [AtomicI64; KEYS],
    log: Mutex<Vec<(usize, Version)>>,
}

struct Rows {
    database: Arc<Database>,
    /// The negative control: a source that reads a replica which lags.
    lags: bool,
}

impl Source for Rows {
    const NAMESPACE: &'static str = "history";
    const SCHEMA: u16 = 1;
    type Key = usize;

    async fn load(&self, key: &usize) -> Result<Option<Loaded>, LoadError> {
        let version = self.database.versions[*key].load(Ordering::SeqCst).max(1);
        let version = if self.lags { (version - 3).max(1) } else { version };
        // The answer is on its way while others commit.
        sleep(Duration::from_millis(1)).await;
        Ok(Some(Loaded {
            version: version.try_into()?,
            mark: 0,
            body: version.to_string().into(),
        }))
    }
}

struct Run {
    database: Arc<Database>,
    history: History,
    stop: AtomicBool,
    /// Whoever commits dies before it invalidates.
    deadly: AtomicBool,
    reads: AtomicU64,
    stale: AtomicU64,
    failed: AtomicU64,
    local: AtomicU64,
    /// Commits whose writer did not invalidate.
    orphans: AtomicU64,
}

impl Run {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

async fn read(run: &Run, shelf: &Namespace<Rows>, reader: usize) {
    while !run.stopped() {
        // Some keys are hotter.
        let key = rand::random_range(0..if reader.is_multiple_of(2) { KEYS } else { 4 });
        let begun = run.history.begin(key);
        let answer = shelf.get(&key).await;
        run.reads.fetch_add(1, Ordering::SeqCst);
        match answer {
            Ok(Lookup::Found(entry)) => {
                assert_eq!(entry.body, entry.version.get().to_string());
                let local = entry.status == CacheStatus::HitLocal;
                run.local.fetch_add(u64::from(local), Ordering::SeqCst);
                let grace = if local { REMEMBERED } else { Duration::ZERO };
                let stale = begun.judge(&run.history, entry.version.get(), grace);
                run.stale.fetch_add(u64::from(stale.is_some()), Ordering::SeqCst);
            }
            Ok(Lookup::Absent) => panic!("every row exists"),
            Err(error) => {
                // Shed: the faults here leave few loads at once.
                run.failed.fetch_add(1, Ordering::SeqCst);
                eprintln!("a read failed: {error}");
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Commits, and invalidates once, as a process does that may die in between.
async fn write(run: &Run, shelf: &Namespace<Rows>) {
    while !run.stopped() {
        let key = rand::random_range(0..KEYS);
        let version = {
            // A row is locked until its change is committed, so that the log has its versions in order.
            let mut log = run.database.log.lock().unwrap();
            let before = run.database.versions[key].load(Ordering::SeqCst).max(1);
            let version = Version::try_from(before + 1).unwrap();
            run.database.versions[key].store(version.get(), Ordering::SeqCst);
            log.push((key, version));
            version
        };
        if run.deadly.load(Ordering::SeqCst) {
            run.orphans.fetch_add(1, Ordering::SeqCst);
        } else {
            shelf.invalidate(&key, version).await;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Applies the log until all of it is acknowledged: from then on nobody may be answered with what is older.
async fn follow(run: &Run, cache: &cache::Cache, shelf: &Namespace<Rows>) {
    let mut tail = cache.tail();
    let mut done = 0;
    while !run.stopped() {
        let new: Vec<_> = run.database.log.lock().unwrap()[done..].to_vec();
        if !new.is_empty() && tail.look().await.is_ok() && shelf.reapply(&mut tail, &new).await.is_ok() {
            done += new.len();
            for (key, version) in new {
                run.history.applied(key, version.get());
            }
        }
        sleep(Duration::from_millis(3)).await;
    }
}

async fn run(server: &mut Server, lags: bool, faults: bool) -> Arc<Run> {
    let run = Arc::new(Run {
        database: Arc::new(Database {
            versions: std::array::from_fn(|_| AtomicI64::new(1)),
            log: Mutex::default(),
        }),
        history: History::new(KEYS),
        stop: AtomicBool::default(),
        deadly: AtomicBool::default(),
        reads: AtomicU64::default(),
        stale: AtomicU64::default(),
        failed: AtomicU64::default(),
        local: AtomicU64::default(),
        orphans: AtomicU64::default(),
    });
    let mut running = Vec::new();
    // Two processes; the second one's tail owns the log.
    for number in 0..2 {
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
            database: Arc::clone(&run.database),
            lags,
        };
        let shelf = cache.namespace(rows, policy).unwrap();
        for reader in 0..8 {
            let (run, shelf) = (Arc::clone(&run), shelf.clone());
            running.push(tokio::spawn(async move { read(&run, &shelf, reader).await }));
        }
        if number == 1 {
            let (run, cache, shelf) = (Arc::clone(&run), cache.clone(), shelf.clone());
            running.push(tokio::spawn(async move { follow(&run, &cache, &shelf).await }));
        }
        let run = Arc::clone(&run);
        running.push(tokio::spawn(async move { write(&run, &shelf).await }));
    }
    if faults {
        for round in 0.. {
            strike(&run, server).await;
            if round >= 1 && run.reads.load(Ordering::SeqCst) >= READS {
                break;
            }
        }
    } else {
        testkit::eventually(
            "something was read that is older than its invalidation",
            async || (run.stale.load(Ordering::SeqCst) > 0).then_some(()),
        )
        .await;
    }
    run.stop.store(true, Ordering::SeqCst);
    for task in running {
        task.await.unwrap();
    }
    run
}

/// Every fault once, each followed by a moment without one.
async fn strike(run: &Run, server: &mut Server) {
    server.ask::<()>(&["FLUSHALL"]);
    sleep(SHORT).await;
    server.replace();
    sleep(SHORT).await;
    server.kill();
    sleep(SHORT).await;
    server.replace();
    sleep(SHORT).await;
    server.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    sleep(SHORT).await;
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    server.signal(Signal::STOP);
    sleep(SHORT).await;
    server.signal(Signal::CONT);
    sleep(SHORT).await;
    // Control keys alone, and then whatever is least used, while strangers fill the memory.
    for key in 0..KEYS {
        server.ask::<()>(&["DEL", &format!("c1:{{history:{key}}}:c")]);
    }
    sleep(SHORT).await;
    evict(server).await;
    sleep(SHORT).await;
    run.deadly.store(true, Ordering::SeqCst);
    sleep(SHORT).await;
    run.deadly.store(false, Ordering::SeqCst);
    sleep(SHORT).await;
}

async fn evict(server: &Server) {
    let used = |server: &Server| -> u64 {
        let memory: String = server.ask(&["INFO", "memory"]);
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.unwrap().trim().parse().unwrap()
    };
    server.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let limit = (used(server) + 200_000).to_string();
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", &limit]);
    let ballast = "x".repeat(10_000);
    for number in 0..100 {
        server.ask::<()>(&["SET", &format!("ballast:{number}"), &ballast, "PX", "500"]);
        sleep(Duration::from_millis(3)).await;
    }
    let stats: String = server.ask(&["INFO", "stats"]);
    assert!(!stats.contains("evicted_keys:0\r"), "nothing was evicted");
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_older_than_an_applied_invalidation() {
    let mut server = Server::start(&[]);
    let run = run(&mut server, false, true).await;
    let [reads, stale, failed, local, orphans] =
        [&run.reads, &run.stale, &run.failed, &run.local, &run.orphans]
            .map(|count| count.load(Ordering::SeqCst));
    eprintln!(
        "{reads} reads, {stale} stale, {failed} failed, {local} from the process's own layer; {orphans} writers died"
    );
    assert!(reads >= READS && local > 0 && orphans > 0);
    assert_eq!((stale, failed), (0, 0));
}

/// The negative control: with a loader that reads a replica, the checker finds stale reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lags_is_caught() {
    let mut server = Server::start(&[]);
    let run = run(&mut server, true, false).await;
    assert!(run.stale.load(Ordering::SeqCst) > 0);
}
