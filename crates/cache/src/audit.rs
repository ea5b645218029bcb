//! A few hits are compared with the source: what the protocol promises, watched in production.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Cmd;
use tokio::time::sleep;

use crate::connection::Op;
use crate::entry::{Content, Decoded, Loaded, Stored};
use crate::namespace::{Inner, Source};

/// When entries need no watermark, an invalidation is given this long to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

impl<S: Source> Inner<S> {
    pub(crate) fn audit_sometimes(self: &Arc<Self>, key: &S::Key, data: &str, stored: &Stored) {
        let every = self.core.audit_every;
        if every == 0 || !rand::random::<u32>().is_multiple_of(every) {
            return;
        }
        // Comparing costs a load, and must not cost a reader his.
        let Some(permit) = self.core.bulkhead.enter_now() else {
            return;
        };
        let (this, key, data, stored) = (Arc::clone(self), key.clone(), data.to_owned(), stored.clone());
        self.core.runtime.spawn(async move {
            this.meters.load("audit");
            let loaded = tokio::time::timeout(this.policy.load_limit, this.source.load(&key)).await;
            drop(permit);
            let Ok(Ok(loaded)) = loaded else { return };
            let result = this.compare(&data, &stored, loaded).await;
            if result == "mismatch" {
                tracing::error!(
                    error.type = "stale",
                    namespace = S::NAMESPACE,
                    key = data,
                    "the cache still answers with an older {} than the database",
                    S::NAMESPACE
                );
            }
            this.meters.audit(result);
        });
    }

    async fn compare(&self, data: &str, stored: &Stored, loaded: Option<Loaded>) -> &'static str {
        let (version, content) = loaded.map_or((0, Content::Absent), Loaded::parts);
        if content == stored.content {
            return "match";
        }
        if content != Content::Absent && version < stored.version {
            // The entry is newer: what was loaded is an older snapshot's.
            return "changed";
        }
        // Committed after the hit, or just before it: its invalidation may be on its way.
        let bound = self.core.staleness_bound;
        sleep(if bound.is_zero() { PATIENCE } else { bound }).await;
        let again = self
            .core
            .link
            .run::<Option<Vec<u8>>>(Op::Get, &Cmd::get(data))
            .await;
        let Ok(Some(bytes)) = again else { return "changed" };
        if let Some(nonce) = &self.nonce {
            // A page under an older nonce stays as it is, and nobody finds it.
            let nonce = self
                .core
                .link
                .run::<Option<String>>(Op::Get, &Cmd::get(&**nonce))
                .await;
            if !nonce.is_ok_and(|nonce| nonce.is_some_and(|nonce| data.contains(&nonce))) {
                return "changed";
            }
        }
        match Stored::decode(S::SCHEMA, bytes) {
            Decoded::Entry(again) if again.version == stored.version && again.content == stored.content => {
                "mismatch"
            }
            _ => "changed",
        }
    }
}
