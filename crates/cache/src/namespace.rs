//! The read path and the invalidation of one kind of entry.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::redis::Cmd;
use futures_util::future::try_join_all;

use crate::Core;
use crate::clock::millis;
use crate::connection::{Op, Unreachable};
use crate::entry::{Content, Entry, Loaded, Version};
use crate::fetch::Landing;
use crate::flight::Flights;
use crate::key::{Key, Keys, data};
use crate::meters::Meters;
use crate::pace::Pace;
use crate::policy::{CONTROL_TTL, Policy};
use crate::recent::Recent;
use crate::script::INVALIDATE;

/// Where entries come from: the owner of the truth.
pub trait Source: Send + Sync + 'static {
    /// First part of the keys; also a metric's label.
    const NAMESPACE: &'static str;
    /// Version of the body's and the mark's format, from 1; raised when another release must not read what this one stores.
    const SCHEMA: u16;
    /// Names an entry; its text stands in Redis keys.
    type Key: Key;

    /// Loads what is committed now: on the primary, on a connection of its own, in a statement that begins after this
    /// call and sees what was committed until then (READ COMMITTED). `None` when there is no such row.
    ///
    /// It is dropped when it takes longer than [`Policy::load_limit`].
    fn load(&self, key: &Self::Key) -> impl Future<Output = Result<Option<Loaded>, LoadError>> + Send;
}

/// Why a source could not load; the reader gets it back in [`Unavailable`].
pub type LoadError = anyhow::Error;

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It exists.
    Found(Entry),
    /// The source has no such entry.
    Absent,
}

/// The source did not answer, and nothing that may be served is cached. Redis alone causes only [`Unavailable::Shed`]: when it is out of
/// reach, and more is wanted from the source than the bulkhead lets through.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unavailable {
    /// The source's own error.
    #[error("loading failed")]
    Failed(#[source] Cause),
    /// It took longer than [`Policy::load_limit`], or others' leases did not end within [`Policy::request_budget`].
    #[error("loading took too long")]
    TooSlow,
    /// More loads are wanted than the database is given. Come back in a second.
    #[error("too many loads are waiting")]
    Shed,
}

/// A source's error, shared by those who waited for the load.
#[derive(Clone)]
pub struct Cause(Arc<LoadError>);

/// The entries of one source; cheap to clone.
pub struct Namespace<S: Source> {
    pub(crate) inner: Arc<Inner<S>>,
    /// What a request has left that reads.
    budget: Duration,
}

pub(crate) struct Inner<S> {
    pub(crate) core: Arc<Core>,
    pub(crate) source: S,
    pub(crate) policy: Policy,
    pub(crate) pace: Pace,
    pub(crate) flights: Flights<String, Landing>,
    /// Loads that failed.
    pub(crate) failures: Recent<Unavailable>,
    /// Loads that those who had something older to answer with did not wait for to the end.
    pub(crate) slow: Recent<()>,
    /// What was loaded because Redis did not answer.
    pub(crate) local: Recent<(i64, Content)>,
    /// How often this process has invalidated any of it: what was being loaded then may be older.
    pub(crate) invalidated: AtomicU64,
    /// What was too large to be stored: nobody waits for his turn to load it.
    pub(crate) large: Recent<()>,
    pub(crate) meters: Meters,
    /// The key of the nonce that a list's pages are under.
    pub(crate) nonce: Option<Arc<str>>,
}

/// How long a failed load, or one without Redis, is remembered.
const SECOND: Duration = Duration::from_secs(1);
/// Then somebody looks whether it has become small.
const REMEMBER_LARGE: Duration = Duration::from_secs(30);
/// Why a load does not ask for a lease, and the result of a populate.
pub(crate) const TOO_LARGE: &str = "too_large";

impl<S: Source> Namespace<S> {
    pub(crate) fn new(core: Arc<Core>, source: S, policy: Policy, nonce: Option<Arc<str>>) -> Namespace<S> {
        let budget = policy.request_budget;
        let inner = Arc::new(Inner {
            core,
            source,
            policy,
            pace: Pace::default(),
            flights: Flights::new(),
            failures: Recent::new(SECOND),
            slow: Recent::new(SECOND),
            local: Recent::new(SECOND),
            invalidated: AtomicU64::new(0),
            large: Recent::new(REMEMBER_LARGE),
            meters: Meters::new(S::NAMESPACE),
            nonce,
        });
        Namespace { inner, budget }
    }

    /// The same entries, for a request that has so much time left. A lease that it takes lives at most half of that, and at least
    /// 250 ms.
    #[must_use]
    pub fn within(&self, left: Duration) -> Namespace<S> {
        Namespace {
            inner: Arc::clone(&self.inner),
            budget: left,
        }
    }

    /// The entry from Redis, otherwise from the source: one round trip on a hit.
    ///
    /// # Errors
    /// When it has to be loaded and that fails, and nothing older may be served instead.
    pub async fn get(&self, key: &S::Key) -> Result<Lookup, Unavailable> {
        let inner = &self.inner;
        let Some(data) = data(&inner.core.scope, S::NAMESPACE, key) else {
            return inner.get_unstorable(key).await;
        };
        let found = inner.core.link.run(Op::Get, &Cmd::get(&data)).await;
        inner.answer(key, data, found, self.budget).await
    }

    /// Many entries in one round trip (in a cluster one for each slot), in the order of `keys`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use cache::{Lookup, Namespace, Source, Unavailable};
    ///
    /// /// Of those that exist.
    /// async fn bodies<S: Source>(entries: &Namespace<S>, keys: &[S::Key]) -> Result<Vec<Bytes>, Unavailable> {
    ///     let found = entries.get_many(keys).await?.into_iter();
    ///     let bodies = found.filter_map(|lookup| match lookup {
    ///         Lookup::Found(entry) => Some(entry.body),
    ///         Lookup::Absent => None,
    ///     });
    ///     Ok(bodies.collect())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Namespace::get`], for the first entry that fails.
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Lookup>, Unavailable> {
        let inner = &self.inner;
        let texts: Option<Vec<String>> = keys
            .iter()
            .map(|key| data(&inner.core.scope, S::NAMESPACE, key))
            .collect();
        let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
            return try_join_all(keys.iter().map(|key| self.get(key))).await;
        };
        let reply = inner
            .core
            .link
            .run::<Vec<Option<Vec<u8>>>>(Op::Mget, &Cmd::mget(&texts))
            .await;
        let found: Vec<Result<_, Unreachable>> = match reply {
            Ok(found) if found.len() == keys.len() => found.into_iter().map(Ok).collect(),
            Ok(_) | Err(_) => keys.iter().map(|_| Err(Unreachable::Down)).collect(),
        };
        let answers = keys
            .iter()
            .zip(texts)
            .zip(found)
            .map(|((key, data), found)| inner.answer(key, data, found, self.budget));
        try_join_all(answers).await
    }

    /// Makes older versions than `version` unreadable and keeps them from being stored again. Call it after the commit
    /// that made `version`; for a deletion, with one more than the row's last. In any order and as often as you like.
    ///
    /// Returns whether Redis acknowledged it. A failure is counted, and the write has happened all the same. Until somebody re-applies it, as
    /// [`Namespace::reapply`] does, the older entry is served at most until its TTL ends, and at most for the staleness
    /// bound while nobody publishes a watermark.
    pub async fn invalidate(&self, key: &S::Key, version: Version) -> bool {
        let inner = &self.inner;
        let Some(keys) = Keys::of(&inner.core.scope, S::NAMESPACE, key) else {
            // It is never stored.
            return true;
        };
        inner.invalidated.fetch_add(1, Ordering::SeqCst);
        inner.local.remove(&keys.data);
        let applied: Result<String, Unreachable> = INVALIDATE
            .run(&inner.core.link, &keys.both(), |command| {
                command.arg(version.get()).arg(millis(CONTROL_TTL));
            })
            .await;
        let result = match applied.as_deref() {
            Ok("redundant") => "redundant",
            Ok(_) => "inline",
            Err(error) => {
                tracing::debug!(%error, "redis did not answer an invalidation");
                "failed"
            }
        };
        inner.meters.invalidation(result);
        applied.is_ok()
    }

    /// From the source alone, shared with those who ask at the same time, when Redis cannot help.
    pub(crate) async fn get_apart(&self, key: &S::Key) -> Result<Lookup, Unavailable> {
        let data = data(&self.inner.core.scope, S::NAMESPACE, key).unwrap_or_else(|| key.to_string());
        let found = Err(Unreachable::Down);
        self.inner.answer(key, data, found, self.budget).await
    }
}

impl Cause {
    pub(crate) fn new(error: LoadError) -> Cause {
        Cause(Arc::new(error))
    }

    /// The source's own error, when it is of that type.
    pub fn downcast_ref<E: fmt::Display + fmt::Debug + Send + Sync + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl<S: Source> Clone for Namespace<S> {
    fn clone(&self) -> Self {
        self.within(self.budget)
    }
}

impl<S: Source> fmt::Debug for Namespace<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Namespace")
            .field("name", &S::NAMESPACE)
            .finish_non_exhaustive()
    }
}
