#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod args;
mod audit;
mod breaker;
mod bulkhead;
mod cli;
mod clock;
mod collection;
mod connection;
mod entry;
mod fetch;
mod flight;
mod key;
mod meters;
mod namespace;
mod pace;
mod policy;
mod read;
mod recent;
mod script;
mod tail;
mod verdict;
mod watermark;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use deadpool_redis::redis::Cmd;
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use args::{CacheArgs, Redis, RedisUrl, Unusable};
pub use cli::{Command, Known};
pub use collection::{Collection, Pages};
pub use entry::{CacheStatus, Entry, Forward, InvalidVersion, Loaded, Version};
pub use key::Key;
pub use namespace::{Cause, LoadError, Lookup, Namespace, Source, Unavailable};
pub use policy::{MEMORY, Policy};
pub use tail::{Identity, Seen, Tail, TailError};

use bulkhead::Bulkhead;
use connection::{Dialer, Link, Op};
use key::is_plain;
use watermark::Watermark;

/// A process's cache: its connection to Redis and what its namespaces share. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    core: Arc<Core>,
    dialer: Dialer,
}

pub(crate) struct Core {
    pub(crate) link: Link,
    pub(crate) watermark: Watermark,
    pub(crate) staleness_bound: Duration,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) scope: String,
    pub(crate) audit_every: u32,
    pub(crate) runtime: Handle,
    /// The namespaces' names.
    declared: Mutex<HashSet<&'static str>>,
}

/// A namespace that the code declares wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache's namespace {name:?}: {fault}")]
pub struct Misdeclared {
    name: &'static str,
    fault: String,
}

/// How often the watermark is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(500);

impl Cache {
    /// Starts to connect, and returns when the first attempt succeeded or failed: at most 250 ms (a cluster: 1 s), or
    /// a command's limit where that is longer. What runs in the background runs on the calling runtime, until the last clone and
    /// namespace are dropped.
    ///
    /// `concurrent_loads` is how many loads of all namespaces run at once; the others wait, within bounds. Half of the
    /// database's connections is a good number: then no trouble with Redis takes the other half from the writes.
    ///
    /// # Errors
    /// When the URL asks for what this build does not have. That Redis does not answer is no error.
    pub async fn start(args: &CacheArgs, concurrent_loads: usize) -> anyhow::Result<Cache> {
        meters::describe();
        let dialer = Dialer::new(args)?;
        let core = Arc::new(Core {
            link: Link::start(dialer.clone()).await,
            watermark: Watermark::new(args.cache_staleness_bound),
            staleness_bound: args.cache_staleness_bound,
            bulkhead: Bulkhead::new(concurrent_loads.max(1)),
            scope: args.cache_scope.clone(),
            audit_every: args.cache_audit_every,
            runtime: Handle::current(),
            declared: Mutex::default(),
        });
        tokio::spawn(watch(Arc::downgrade(&core)));
        Ok(Cache { core, dialer })
    }

    /// The entries that `source` loads.
    ///
    /// # Errors
    /// When [`Source::NAMESPACE`] is no name (1 to 40 letters, digits, `-`, `_` and `.`) or another namespace's of this cache, or
    /// a value of `policy` cannot be right.
    pub fn namespace<S: Source>(&self, source: S, policy: Policy) -> Result<Namespace<S>, Misdeclared> {
        self.core.declare(S::NAMESPACE, &policy)?;
        Ok(Namespace::new(Arc::clone(&self.core), source, policy, None))
    }

    /// The pages that `pages` loads.
    ///
    /// # Errors
    /// As [`Cache::namespace`].
    pub fn collection<P: Pages>(&self, pages: P, policy: Policy) -> Result<Collection<P>, Misdeclared> {
        self.core.declare(P::NAMESPACE, &policy)?;
        Ok(Collection::new(Arc::clone(&self.core), pages, policy))
    }

    /// For whoever re-applies invalidations: a connection of its own.
    pub fn tail(&self) -> Tail {
        Tail::new(self.dialer.clone(), self.core.scope.clone())
    }
}

impl Core {
    fn declare(&self, name: &'static str, policy: &Policy) -> Result<(), Misdeclared> {
        let misdeclared = |fault: String| Err(Misdeclared { name, fault });
        if name.is_empty() || !is_plain(name) {
            return misdeclared("a name is 1 to 40 letters, digits, '-', '_' and '.'".to_owned());
        }
        if let Some(fault) = policy.fault() {
            return misdeclared(fault);
        }
        // Two sources of the same entries would each answer with what the other stored.
        let mut declared = self
            .declared
            .lock()
            .expect("nothing panics while it holds the lock");
        if !declared.insert(name) {
            return misdeclared("it is declared twice".to_owned());
        }
        Ok(())
    }
}

/// Reads the watermark, and shows what state the cache is in, until the cache is gone.
async fn watch(core: Weak<Core>) {
    loop {
        let Some(core) = core.upgrade() else { return };
        let get = Cmd::get(tail::watermark_key(&core.scope));
        let began = Instant::now();
        // When Redis does not answer, what is known only gets older.
        if let Ok(text) = core.link.run::<Option<String>>(Op::Get, &get).await {
            core.watermark
                .read(began, text.and_then(|text| text.parse().ok()));
        }
        let age = core
            .watermark
            .age()
            .map_or(f64::INFINITY, |age| age.as_secs_f64());
        metrics::gauge!("cache_watermark_age_seconds").set(age);
        metrics::gauge!("cache_breaker_open").set(f64::from(core.link.breaker_phase().min(1)));
        metrics::gauge!("cache_loads_in_progress").set(gauge(core.bulkhead.in_use()));
        metrics::gauge!("cache_loads_waiting").set(gauge(core.bulkhead.waiting()));
        drop(core);
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of connections is small")]
fn gauge(count: usize) -> f64 {
    count as f64
}

impl fmt::Debug for Cache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cache").finish_non_exhaustive()
    }
}
