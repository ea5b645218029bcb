//! A source whose rows and moments the tests choose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache::{
    Cache, CacheArgs, CacheStatus, Forward, LoadError, Loaded, Lookup, Namespace, Policy, Source, Version,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(crate) fn redis() -> String {
    std::env::var("PLUMBLINE_TEST_REDIS").expect("run `cargo stack test`")
}

/// No early refresh, so that a test decides when an entry is loaded.
pub(crate) fn lasting() -> Policy {
    Policy {
        eagerness: 0.0,
        ..Policy::default()
    }
}

pub(crate) fn settings(url: &str) -> CacheArgs {
    CacheArgs {
        // A busy machine must not make a miss of a hit.
        redis_command_timeout: Duration::from_secs(20),
        // Nothing publishes a watermark here.
        cache_staleness_bound: Duration::ZERO,
        cache_audit_every: 0,
        ..CacheArgs::at(url)
    }
}

/// A process's cache, which may load four entries at once.
pub(crate) async fn process(settings: &CacheArgs) -> Cache {
    Cache::start(settings, 4).await.unwrap()
}

/// Rows by key. Clones share them, so that one clone is the source of a namespace and another the test's hand.
#[derive(Clone, Default)]
pub(crate) struct Shelf<const SCHEMA: u16 = 1>(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<HashMap<Uuid, Loaded>>,
    loads: AtomicUsize,
    broken: Mutex<Option<&'static str>>,
    gate: Mutex<Option<Arc<Gate>>>,
    delay: Mutex<Duration>,
    running: AtomicUsize,
    most: AtomicUsize,
}

/// Stops one load after it has read its row.
pub(crate) struct Gate {
    pub(crate) reached: Semaphore,
    pub(crate) open: Semaphore,
}

impl<const SCHEMA: u16> Shelf<SCHEMA> {
    pub(crate) fn put(&self, key: Uuid, version: i64, body: &'static str) {
        let row = Loaded {
            version: version.try_into().unwrap(),
            mark: 1,
            body: body.as_bytes().into(),
        };
        self.0.rows.lock().unwrap().insert(key, row);
    }

    pub(crate) fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    /// Loads fail; at "panic" they panic.
    pub(crate) fn breaks(&self, why: &'static str) {
        *self.0.broken.lock().unwrap() = Some(why);
    }

    pub(crate) fn heals(&self) {
        *self.0.broken.lock().unwrap() = None;
    }

    pub(crate) fn remove(&self, key: Uuid) {
        self.0.rows.lock().unwrap().remove(&key);
    }

    /// Each load takes so long.
    pub(crate) fn slow(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    /// Loads that are running, and the most that did at once.
    pub(crate) fn running(&self) -> (usize, usize) {
        (
            self.0.running.load(Ordering::SeqCst),
            self.0.most.load(Ordering::SeqCst),
        )
    }

    /// The next load stops at the gate.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            reached: Semaphore::new(0),
            open: Semaphore::new(0),
        });
        *self.0.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    /// A process that reads these rows through the Redis at `url`.
    pub(crate) async fn behind(&self, url: &str) -> Namespace<Shelf<SCHEMA>> {
        self.behind_with(url, lasting()).await
    }

    pub(crate) async fn behind_with(&self, url: &str, policy: Policy) -> Namespace<Shelf<SCHEMA>> {
        self.of(&process(&settings(url)).await, policy)
    }

    /// In a process that reads other rows too.
    pub(crate) fn of(&self, cache: &Cache, policy: Policy) -> Namespace<Shelf<SCHEMA>> {
        cache.namespace(Shelf(Arc::clone(&self.0)), policy).unwrap()
    }

    /// The same rows in another format, as another release of the process would read them.
    pub(crate) fn in_schema<const OTHER: u16>(&self) -> Shelf<OTHER> {
        Shelf(Arc::clone(&self.0))
    }
}

impl<const SCHEMA: u16> Source for Shelf<SCHEMA> {
    const NAMESPACE: &'static str = "shelf";
    const SCHEMA: u16 = SCHEMA;
    type Key = Uuid;

    async fn load(&self, key: &Uuid) -> Result<Option<Loaded>, LoadError> {
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        let _running = Running::begin(&self.0);
        let broken = *self.0.broken.lock().unwrap();
        match broken {
            Some("panic") => panic!("the loader panics, as the test wants"),
            Some(why) => return Err(anyhow::anyhow!(why)),
            None => {}
        }
        let row = self.0.rows.lock().unwrap().get(key).cloned();
        let gate = self.0.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.reached.add_permits(1);
            gate.open.acquire().await?.forget();
        }
        let delay = *self.0.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(row)
    }
}

/// Counts a load that is running, until it is dropped.
struct Running<'a>(&'a AtomicUsize);

impl Running<'_> {
    fn begin(inner: &Inner) -> Running<'_> {
        let running = inner.running.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most.fetch_max(running, Ordering::SeqCst);
        Running(&inner.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a read found: version, body and how.
pub(crate) async fn read<const SCHEMA: u16>(
    shelf: &Namespace<Shelf<SCHEMA>>,
    key: Uuid,
) -> Option<(i64, String, CacheStatus)> {
    match shelf.get(&key).await.unwrap() {
        Lookup::Found(entry) => {
            let body = String::from_utf8(entry.body.to_vec()).unwrap();
            Some((entry.version.get(), body, entry.status))
        }
        Lookup::Absent => None,
    }
}

/// Until Redis answers with version 1 of the mug.
pub(crate) async fn until_hit(shelf: &Namespace<Shelf>, key: Uuid) {
    testkit::eventually("it is a hit", async || {
        (read(shelf, key).await == found(1, "mug", HIT)).then_some(())
    })
    .await;
}

pub(crate) const HIT: CacheStatus = CacheStatus::Hit;
pub(crate) const STORED: CacheStatus = CacheStatus::Stored(Forward::Miss);
/// Instead of one that was too old.
pub(crate) const RELOADED: CacheStatus = CacheStatus::Stored(Forward::Stale);
pub(crate) const LOADED: CacheStatus = CacheStatus::Loaded(Forward::Miss);
pub(crate) const STALE: CacheStatus = CacheStatus::HitStale;
pub(crate) const ON_ERROR: CacheStatus = CacheStatus::HitOnError;
pub(crate) const COLLAPSED: CacheStatus = CacheStatus::Collapsed(Forward::Miss);
pub(crate) const AWAITED: CacheStatus = CacheStatus::Awaited(Forward::Miss);
pub(crate) const LOCAL: CacheStatus = CacheStatus::HitLocal;
pub(crate) const BYPASSED: CacheStatus = CacheStatus::Loaded(Forward::Bypass);

pub(crate) fn found(version: i64, body: &str, how: CacheStatus) -> Option<(i64, String, CacheStatus)> {
    Some((version, body.to_owned(), how))
}

pub(crate) fn version(number: i64) -> Version {
    number.try_into().unwrap()
}
