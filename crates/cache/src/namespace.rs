//! The read path and the invalidation of one kind of entry.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Cmd;

use crate::entry::{self, CacheStatus, Entry, Loaded};
use crate::link::Link;
use crate::script::{INVALIDATE, POPULATE};

/// How long a load may take.
const LOAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a floor keeps older populates out. It must exceed a load and its populate.
const FLOOR_TTL: Duration = Duration::from_secs(60);

/// Where entries come from: the owner of the truth.
pub trait Source: Send + Sync + 'static {
    /// First part of the keys; also a metric's label.
    const NAMESPACE: &'static str;
    /// Version of the body's and the mark's format, from 1; raised when an older release must not read a newer body.
    const SCHEMA: u16;
    /// Names an entry; its text stands in Redis keys.
    type Key: Display + Sync;

    /// Loads what is committed now, on the primary, in a statement that begins after this call; `None` when there is no such entry.
    fn load(&self, key: &Self::Key) -> impl Future<Output = Result<Option<Loaded>, LoadError>> + Send;
}

/// Why a source could not load; the reader gets it back in [`Unavailable`].
pub type LoadError = anyhow::Error;

/// How long entries are kept.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub ttl: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            ttl: Duration::from_secs(30),
        }
    }
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(Entry),
    /// The source has no such entry.
    Absent,
}

/// The source did not answer. Redis alone never causes this.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("loading failed")]
    Failed(#[source] LoadError),
    #[error("loading took more than {} s", LOAD_LIMIT.as_secs())]
    TooSlow,
}

/// The entries of one source; cheap to clone.
#[derive(Debug)]
pub struct Namespace<S> {
    link: Arc<Link>,
    source: Arc<S>,
    policy: Policy,
}

impl<S> Clone for Namespace<S> {
    fn clone(&self) -> Self {
        Namespace {
            link: Arc::clone(&self.link),
            source: Arc::clone(&self.source),
            policy: self.policy,
        }
    }
}

impl<S: Source> Namespace<S> {
    pub(crate) fn new(link: Arc<Link>, source: S, policy: Policy) -> Namespace<S> {
        Namespace {
            link,
            source: Arc::new(source),
            policy,
        }
    }

    /// The entry from Redis, otherwise from the source.
    ///
    /// # Errors
    /// When it has to be loaded and the source fails.
    pub async fn get(&self, key: &S::Key) -> Result<Lookup, Unavailable> {
        let keys = Keys::of::<S>(key);
        let reply = self
            .link
            .run::<Option<Vec<u8>>>("GET", &Cmd::get(&keys.data))
            .await;
        let found = match reply {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "redis did not answer a read");
                count_request::<S>("error");
                return Ok(match self.load(key).await? {
                    Some(loaded) => Lookup::Found(loaded.entry(CacheStatus::Bypassed)),
                    None => Lookup::Absent,
                });
            }
        };
        if let Some(entry) = found.and_then(|stored| entry::decode(S::SCHEMA, stored)) {
            count_request::<S>("fresh");
            return Ok(Lookup::Found(entry));
        }
        count_request::<S>("miss");
        match self.load(key).await? {
            Some(loaded) => {
                let status = self.populate(&keys, &loaded).await;
                Ok(Lookup::Found(loaded.entry(status)))
            }
            None => Ok(Lookup::Absent),
        }
    }

    /// Makes older versions than `version` unreadable and keeps them from being stored again. Call it after the commit
    /// that made `version`; for a deletion, with the last version + 1. In any order and as often as you like.
    ///
    /// A failure is counted and otherwise ignored: the write has happened, and the older entry ends with its TTL.
    pub async fn invalidate(&self, key: &S::Key, version: i64) {
        let keys = Keys::of::<S>(key);
        let applied = INVALIDATE
            .run(&self.link, keys.both(), |command| {
                command.arg(version).arg(millis(FLOOR_TTL));
            })
            .await;
        let result = match applied {
            Ok(_) => "applied",
            Err(error) => {
                tracing::debug!(%error, "redis did not answer an invalidation");
                "failed"
            }
        };
        metrics::counter!("cache_invalidations_total", "namespace" => S::NAMESPACE, "result" => result)
            .increment(1);
    }

    async fn load(&self, key: &S::Key) -> Result<Option<Loaded>, Unavailable> {
        tokio::time::timeout(LOAD_LIMIT, self.source.load(key))
            .await
            .map_err(|_| Unavailable::TooSlow)?
            .map_err(Unavailable::Failed)
    }

    async fn populate(&self, keys: &Keys, loaded: &Loaded) -> CacheStatus {
        let stored = entry::encode(S::SCHEMA, loaded);
        let answer = POPULATE
            .run(&self.link, keys.both(), |command| {
                command.arg(S::SCHEMA).arg(loaded.version);
                command.arg(millis(self.policy.ttl)).arg(&stored);
            })
            .await;
        let (result, status) = match answer.as_deref() {
            Ok("stored") => ("stored", CacheStatus::Stored),
            Ok("floor") => ("floor", CacheStatus::Missed),
            Ok("older") => ("older", CacheStatus::Missed),
            Ok(_) => ("schema", CacheStatus::Missed),
            Err(_) => ("failed", CacheStatus::Bypassed),
        };
        metrics::counter!("cache_populates_total", "namespace" => S::NAMESPACE, "result" => result)
            .increment(1);
        status
    }
}

impl Loaded {
    fn entry(self, status: CacheStatus) -> Entry {
        Entry {
            version: self.version,
            mark: self.mark,
            body: self.body,
            status,
        }
    }
}

/// The Redis keys of one entry; the braces put both into one slot of a cluster.
struct Keys {
    data: String,
    control: String,
}

impl Keys {
    fn of<S: Source>(key: &S::Key) -> Keys {
        Keys {
            data: format!("c1:{{{}:{key}}}:d", S::NAMESPACE),
            control: format!("c1:{{{}:{key}}}:c", S::NAMESPACE),
        }
    }

    fn both(&self) -> [&str; 2] {
        [&self.data, &self.control]
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count_request<S: Source>(result: &'static str) {
    metrics::counter!("cache_requests_total", "namespace" => S::NAMESPACE, "result" => result).increment(1);
}
