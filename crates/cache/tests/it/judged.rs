//! Readers, writers and a follower of what is committed, judged by a history: no read that begins after an invalidation was applied
//! is answered with an older version.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache::{Cache, CacheArgs, CacheStatus, LoadError, Loaded, Lookup, Namespace, Policy, Source, Version};
use testkit::History;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::shelf::process;

pub(crate) const KEYS: usize = 40;
/// What a process remembers itself may be a second old, and be answered a moment later.
const REMEMBERED: Duration = Duration::from_millis(1_100);
/// Keys that are read at once.
const BATCH: usize = 10;

/// What is committed: each key's version, and a log of all changes in their order.
struct Database {
    versions: [AtomicI64; KEYS],
    log: Mutex<Vec<(usize, Version)>>,
}

struct Rows {
    database: Arc<Database>,
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

/// What is going on, and what was found.
pub(crate) struct Run {
    database: Arc<Database>,
    history: History,
    stop: AtomicBool,
    /// Whoever commits dies before it invalidates.
    pub(crate) deadly: AtomicBool,
    /// By key: the Redis that holds it may have lost what it acknowledged, and not all of it was applied again.
    pub(crate) lossy: [AtomicBool; KEYS],
    pub(crate) reads: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) stale: AtomicU64,
    /// Of keys that were lossy.
    pub(crate) excused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) local: AtomicU64,
    /// Commits whose writer did not invalidate.
    pub(crate) orphans: AtomicU64,
    /// How often all was applied again, because another Redis answered.
    pub(crate) rewinds: AtomicU64,
}

/// A run with its tasks.
pub(crate) struct Running {
    pub(crate) run: Arc<Run>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Two processes; the second one's tail owns the log. `lags` is the negative control: a source that reads a replica.
    pub(crate) async fn start(args: &CacheArgs, lags: bool) -> Running {
        let run = Arc::new(Run {
            database: Arc::new(Database {
                versions: std::array::from_fn(|_| AtomicI64::new(1)),
                log: Mutex::default(),
            }),
            history: History::new(KEYS),
            stop: AtomicBool::default(),
            deadly: AtomicBool::default(),
            lossy: std::array::from_fn(|_| AtomicBool::default()),
            reads: AtomicU64::default(),
            batches: AtomicU64::default(),
            stale: AtomicU64::default(),
            excused: AtomicU64::default(),
            failed: AtomicU64::default(),
            local: AtomicU64::default(),
            orphans: AtomicU64::default(),
            rewinds: AtomicU64::default(),
        });
        let mut tasks = Vec::new();
        for number in 0..2 {
            let cache = process(args).await;
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
                tasks.push(tokio::spawn(async move { run.read(&shelf, reader).await }));
            }
            if number == 1 {
                let (run, cache, shelf) = (Arc::clone(&run), cache.clone(), shelf.clone());
                tasks.push(tokio::spawn(async move { run.follow(&cache, &shelf).await }));
            }
            let run = Arc::clone(&run);
            tasks.push(tokio::spawn(async move { run.write(&shelf).await }));
        }
        Running { run, tasks }
    }

    pub(crate) async fn end(self) -> Arc<Run> {
        self.run.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.run
    }

    /// Until so many more were read.
    pub(crate) async fn go_on_for(&self, reads: u64) {
        let until = self.run.reads.load(Ordering::SeqCst) + reads;
        testkit::eventually("enough was read", async || {
            (self.run.reads.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
    }
}

impl Run {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn is_lossy(&self, key: usize) -> bool {
        self.lossy[key].load(Ordering::SeqCst)
    }

    async fn read(&self, shelf: &Namespace<Rows>, reader: usize) {
        while !self.stopped() {
            // Some keys are hotter.
            let first = rand::random_range(0..if reader.is_multiple_of(2) { KEYS } else { 4 });
            let many = if reader % 4 == 3 { BATCH } else { 1 };
            let keys: Vec<usize> = (first..first + many).map(|key| key % KEYS).collect();
            let begun = keys
                .iter()
                .map(|key| (self.history.begin(*key), self.is_lossy(*key)));
            let begun: Vec<_> = begun.collect();
            let answers = match keys[..] {
                [key] => shelf.get(&key).await.map(|answer| vec![answer]),
                _ => {
                    self.batches.fetch_add(1, Ordering::SeqCst);
                    shelf.get_many(&keys).await
                }
            };
            self.reads.fetch_add(keys.len() as u64, Ordering::SeqCst);
            match answers {
                Ok(answers) => {
                    for ((begun, lossy), answer) in begun.into_iter().zip(answers) {
                        let Lookup::Found(entry) = answer else {
                            panic!("every row exists")
                        };
                        assert_eq!(entry.body, entry.version.get().to_string());
                        let local = entry.status == CacheStatus::HitLocal;
                        self.local.fetch_add(u64::from(local), Ordering::SeqCst);
                        let grace = if local { REMEMBERED } else { Duration::ZERO };
                        if begun.judge(&self.history, entry.version.get(), grace).is_some() {
                            let excused = lossy || self.is_lossy(begun.key);
                            let count = if excused { &self.excused } else { &self.stale };
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
                Err(error) => {
                    // Shed: the faults here leave few loads at once.
                    self.failed.fetch_add(1, Ordering::SeqCst);
                    eprintln!("a read failed: {error}");
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Commits, and invalidates once, as a process does that may die in between.
    async fn write(&self, shelf: &Namespace<Rows>) {
        while !self.stopped() {
            let key = rand::random_range(0..KEYS);
            let version = {
                // A row is locked until its change is committed, so that the log has its versions in order.
                let mut log = self.database.log.lock().unwrap();
                let before = self.database.versions[key].load(Ordering::SeqCst).max(1);
                let version = Version::try_from(before + 1).unwrap();
                self.database.versions[key].store(version.get(), Ordering::SeqCst);
                log.push((key, version));
                version
            };
            if self.deadly.load(Ordering::SeqCst) {
                self.orphans.fetch_add(1, Ordering::SeqCst);
            } else {
                shelf.invalidate(&key, version).await;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Applies the log until all of it is acknowledged: from then on nobody may be answered with what is older. All of it again when
    /// another Redis answers.
    async fn follow(&self, cache: &Cache, shelf: &Namespace<Rows>) {
        let mut tail = cache.tail();
        let (mut done, mut known) = (0, None);
        while !self.stopped() {
            if let Ok(seen) = tail.look().await {
                let other = known.as_ref().is_some_and(|known| *known != seen.identity);
                let from = if other { 0 } else { done };
                let new: Vec<_> = self.database.log.lock().unwrap()[from..].to_vec();
                if shelf.reapply(&mut tail, &new).await.is_ok() {
                    done = from + new.len();
                    known = Some(seen.identity);
                    for (key, version) in new {
                        self.history.applied(key, version.get());
                    }
                    self.rewinds.fetch_add(u64::from(other), Ordering::SeqCst);
                }
            }
            sleep(Duration::from_millis(3)).await;
        }
    }
}
