//! Pages of a list: cached under a nonce that is replaced when a page's membership or order can change.
//!
//! The nonce is random and no counter: a counter that is lost begins anew, and finds the pages of its youth.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use deadpool_redis::redis::Cmd;

use crate::Core;
use crate::clock::millis;
use crate::connection::{Op, Unreachable};
use crate::entry::{Entry, Loaded, Version};
use crate::key::{Key, of_cache};
use crate::namespace::{LoadError, Lookup, Namespace, Source, Unavailable};
use crate::policy::Policy;
use crate::tail::{Tail, TailError};

/// Where pages come from. A page is best a list of ids, whose entities are then read by [`Namespace::get_many`]: then a
/// change of an entity is seen in every list at once.
///
/// ```
/// use bytes::Bytes;
/// use cache::{LoadError, Pages};
///
/// struct First;
///
/// impl Pages for First {
///     const NAMESPACE: &'static str = "greetings";
///     const SCHEMA: u16 = 1;
///     type Page = u32;
///
///     // `SELECT id … ORDER BY id LIMIT $1`, as bytes.
///     async fn load(&self, limit: &u32) -> Result<Bytes, LoadError> {
///         Ok((1..=*limit).flat_map(u32::to_be_bytes).collect())
///     }
/// }
/// ```
pub trait Pages: Send + Sync + 'static {
    /// First part of the keys; also a metric's label.
    const NAMESPACE: &'static str;
    /// Version of the bodies' format.
    const SCHEMA: u16;
    /// Names a page: its filter, order and size.
    type Page: Key;

    /// Loads what is committed now; see [`Source::load`].
    fn load(&self, page: &Self::Page) -> impl Future<Output = Result<Bytes, LoadError>> + Send;
}

/// The pages of one list; cheap to clone.
pub struct Collection<P: Pages> {
    pages: Namespace<Paged<P>>,
    core: Arc<Core>,
    nonce: Arc<str>,
}

/// A list that nobody reads any more leaves nothing behind.
const NONCE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

impl<P: Pages> Collection<P> {
    pub(crate) fn new(core: Arc<Core>, pages: P, policy: Policy) -> Collection<P> {
        let nonce: Arc<str> = nonce_key(&core.scope, P::NAMESPACE).into();
        Collection {
            pages: Namespace::new(Arc::clone(&core), Paged(pages), policy, Some(Arc::clone(&nonce))),
            core,
            nonce,
        }
    }

    /// The same pages, for a request that has so much time left; see [`Namespace::within`].
    #[must_use]
    pub fn within(&self, left: Duration) -> Collection<P> {
        Collection {
            pages: self.pages.within(left),
            ..self.clone()
        }
    }

    /// The page from Redis, otherwise from its source: two round trips on a hit.
    ///
    /// # Errors
    /// As [`Namespace::get`].
    pub async fn get(&self, page: &P::Page) -> Result<Entry, Unavailable> {
        let found = match self.read_nonce().await {
            Ok(nonce) => self.pages.get(&self.page(nonce, page)).await?,
            // Which pages are current is not known.
            Err(_) => self.pages.get_apart(&self.page(String::new(), page)).await?,
        };
        match found {
            Lookup::Found(entry) => Ok(entry),
            // A page may be empty, and is never absent.
            Lookup::Absent => Err(Unavailable::TooSlow),
        }
    }

    /// Makes all pages that are cached unreachable. Call it after a commit that can change what a page lists, or in which
    /// order. Returns whether Redis acknowledged it; a failure is counted, as in [`Namespace::invalidate`].
    pub async fn invalidate(&self) -> bool {
        self.forget_local();
        let renewed = self.core.link.run::<()>(Op::Set, &renewal(&self.nonce)).await;
        let result = if renewed.is_ok() { "inline" } else { "failed" };
        self.pages.inner.meters.invalidation(result);
        renewed.is_ok()
    }

    /// The same with a tail's connection, acknowledged.
    ///
    /// # Errors
    /// When Redis has not acknowledged it.
    pub async fn reapply(&self, tail: &mut Tail) -> Result<(), TailError> {
        self.forget_local();
        tail.run::<()>(&renewal(&self.nonce)).await?;
        self.pages.inner.meters.invalidation("tail");
        Ok(())
    }

    /// What is remembered without Redis is under no nonce.
    fn forget_local(&self) {
        self.pages.inner.invalidated.fetch_add(1, Ordering::SeqCst);
        self.pages.inner.local.clear();
    }

    fn page(&self, nonce: String, page: &P::Page) -> PageKey<P::Page> {
        PageKey {
            nonce,
            page: page.clone(),
        }
    }

    async fn read_nonce(&self) -> Result<String, Unreachable> {
        let get = Cmd::get(&*self.nonce);
        if let Some(nonce) = self.core.link.run::<Option<String>>(Op::Get, &get).await? {
            return Ok(nonce);
        }
        // Lost, or the first time. Of many who find none, one makes it and all read it.
        let mut command = renewal(&self.nonce);
        command.arg("NX");
        self.core.link.run::<Option<String>>(Op::Set, &command).await?;
        let nonce = self.core.link.run::<Option<String>>(Op::Get, &get).await?;
        nonce.ok_or(Unreachable::Down)
    }
}

pub(crate) fn nonce_key(scope: &str, namespace: &str) -> String {
    of_cache(scope, &format!("{{{namespace}}}:n"))
}

/// Makes all pages under the nonce before unreachable.
pub(crate) fn renewal(nonce_key: &str) -> Cmd {
    let mut command = Cmd::set(nonce_key, format!("{:032x}", rand::random::<u128>()));
    command.arg("PX").arg(millis(NONCE_TTL));
    command
}

/// A list as a source of entries that have no versions: their nonce is what invalidates them.
struct Paged<P>(P);

#[derive(Clone)]
struct PageKey<K> {
    nonce: String,
    page: K,
}

impl<K: Display> Display for PageKey<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.nonce, self.page)
    }
}

impl<P: Pages> Source for Paged<P> {
    const NAMESPACE: &'static str = P::NAMESPACE;
    const SCHEMA: u16 = P::SCHEMA;
    type Key = PageKey<P::Page>;

    async fn load(&self, key: &PageKey<P::Page>) -> Result<Option<Loaded>, LoadError> {
        let body = self.0.load(&key.page).await?;
        Ok(Some(Loaded {
            version: Version::try_from(1)?,
            mark: 0,
            body,
        }))
    }
}

impl<P: Pages> Clone for Collection<P> {
    fn clone(&self) -> Self {
        Collection {
            pages: self.pages.clone(),
            core: Arc::clone(&self.core),
            nonce: Arc::clone(&self.nonce),
        }
    }
}
