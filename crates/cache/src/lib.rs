#![doc = include_str!("../README.md")]

mod args;
mod entry;
mod link;
mod namespace;
mod script;

use std::sync::Arc;

pub use args::{CacheArgs, Redis, RedisUrl, Unusable};
pub use entry::{CacheStatus, Entry, Loaded};
pub use namespace::{LoadError, Lookup, Namespace, Policy, Source, Unavailable};

use link::Link;

/// The process's one connection to Redis, shared by its namespaces; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    link: Arc<Link>,
}

impl Cache {
    /// Starts to connect, and returns when the first attempt succeeded or failed: at most 250 ms. The task that
    /// keeps the connection up runs on the calling runtime, until the last clone and namespace are dropped.
    pub async fn start(args: &CacheArgs) -> Cache {
        let link = Link::start(args).await;
        Cache { link: Arc::new(link) }
    }

    /// The entries that `source` loads. One namespace for each [`Source::NAMESPACE`].
    pub fn namespace<S: Source>(&self, source: S, policy: Policy) -> Namespace<S> {
        Namespace::new(Arc::clone(&self.link), source, policy)
    }
}
