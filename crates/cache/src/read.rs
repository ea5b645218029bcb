//! What a read does with the reply to its GET: answer, refresh behind, or wait for a flight.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::connection::Unreachable;
use crate::entry::{CacheStatus, Content, Decoded, Entry, Stored, Version};
use crate::fetch::{self, Errand, Landing};
use crate::flight::Pilot;
use crate::namespace::{Inner, Lookup, Source, TOO_LARGE, Unavailable};
use crate::policy::lease_ttl;
use crate::verdict::Verdict;

impl<S: Source> Inner<S> {
    /// What `found`, the reply to a GET, is answered with.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        key: &S::Key,
        data: String,
        found: Result<Option<Vec<u8>>, Unreachable>,
        budget: Duration,
    ) -> Result<Lookup, Unavailable> {
        let requests = &self.meters.requests;
        if found.is_ok() {
            self.local.remove(&data);
        }
        let stored = match found.map(|bytes| bytes.map(|bytes| Stored::decode(S::SCHEMA, bytes))) {
            Ok(Some(Decoded::Entry(stored))) => stored,
            Ok(None | Some(Decoded::Garbage)) => {
                requests.miss.increment(1);
                let errand = match self.large.get(&data) {
                    Some(()) => Errand::Apart { why: TOO_LARGE },
                    None => Errand::Miss { seen: 0, budget },
                };
                return self.fetch(key, data, errand).await;
            }
            Ok(Some(Decoded::Newer)) => {
                requests.miss.increment(1);
                return self.fetch(key, data, Errand::Apart { why: "newer" }).await;
            }
            Err(error) => {
                tracing::debug!(%error, "redis did not answer a read");
                requests.error.increment(1);
                // Loaded because the command before failed too.
                if let Some((version, content)) = self.local.get(&data) {
                    return Ok(lookup(version, content, CacheStatus::HitLocal));
                }
                return self.fetch(key, data, Errand::Apart { why: "bypass" }).await;
            }
        };
        let seen = stored.soft_expiry;
        match self.judge(&stored, self.core.link.clock.now()) {
            Verdict::Fresh => {
                match stored.content {
                    Content::Absent => requests.negative.increment(1),
                    Content::Present { .. } => requests.fresh.increment(1),
                }
                self.audit_sometimes(key, &data, &stored);
                Ok(lookup(stored.version, stored.content, CacheStatus::Hit))
            }
            Verdict::Early => {
                requests.early.increment(1);
                self.refresh_behind(key, data, Errand::Refresh { seen, why: "early" });
                Ok(lookup(stored.version, stored.content, CacheStatus::Hit))
            }
            Verdict::Stale => {
                requests.stale.increment(1);
                self.refresh_behind(key, data, Errand::Refresh { seen, why: "stale" });
                Ok(lookup(stored.version, stored.content, CacheStatus::HitStale))
            }
            Verdict::Expired => match self.reload(key, data, seen, budget).await {
                Some(lookup) => {
                    requests.miss.increment(1);
                    Ok(lookup)
                }
                None => {
                    requests.stale.increment(1);
                    Ok(lookup(stored.version, stored.content, CacheStatus::HitOnError))
                }
            },
        }
    }

    /// For who has something older to answer with: waits no longer than a lease lives, and not again for a second. The flight goes on.
    async fn reload(
        self: &Arc<Self>,
        key: &S::Key,
        data: String,
        seen: u64,
        budget: Duration,
    ) -> Option<Lookup> {
        if self.slow.get(&data).is_some() {
            self.refresh_behind(key, data, Errand::Refresh { seen, why: "slow" });
            return None;
        }
        let asked = Instant::now();
        let patience = lease_ttl(self.pace.p99(), budget);
        let slow = data.clone();
        match timeout(patience, self.fetch(key, data, Errand::Miss { seen, budget })).await {
            Ok(Ok(lookup)) => Some(lookup),
            Ok(Err(error)) => {
                tracing::debug!(%error, "answered with what should have been reloaded");
                None
            }
            Err(_) => {
                self.slow.insert(&slow, asked + patience, ());
                None
            }
        }
    }

    pub(crate) async fn get_unstorable(self: &Arc<Self>, key: &S::Key) -> Result<Lookup, Unavailable> {
        self.meters.requests.miss.increment(1);
        let errand = Errand::Apart { why: "key_too_long" };
        self.fetch(key, key.to_string(), errand).await
    }

    /// Waits for the flight that fetches the entry, and starts it when there is none.
    async fn fetch(
        self: &Arc<Self>,
        key: &S::Key,
        data: String,
        errand: Errand,
    ) -> Result<Lookup, Unavailable> {
        if let Some(failure) = self.failures.get(&data) {
            return Err(failure);
        }
        let (joined, pilot) = self.flights.join(&data);
        let leads = pilot.is_some();
        if let Some(pilot) = pilot {
            self.take_off(key, data, pilot, errand);
        } else {
            self.meters.coalesced.increment(1);
        }
        let landed = joined.await;
        // Only a panic of this crate's own, or the end of the runtime, loses a flight.
        let fetched = landed.unwrap_or(Err(Unavailable::TooSlow))?;
        let status = errand.status(fetched.how, leads);
        Ok(lookup(fetched.version, fetched.content, status))
    }

    /// Refreshes an entry that was answered already, unless that is under way or has just failed.
    fn refresh_behind(self: &Arc<Self>, key: &S::Key, data: String, errand: Errand) {
        if self.failures.get(&data).is_some() {
            return;
        }
        if let Some(pilot) = self.flights.lead(&data) {
            self.take_off(key, data, pilot, errand);
        }
    }

    fn take_off(self: &Arc<Self>, key: &S::Key, data: String, pilot: Pilot<String, Landing>, errand: Errand) {
        let flight = fetch::fly(Arc::clone(self), key.clone(), data, pilot, errand);
        // On the runtime that lives as long as the process: not on a worker's, and not in the caller, who may go away.
        self.core
            .runtime
            .spawn(flight.in_current_span().with_current_context());
    }
}

fn lookup(version: i64, content: Content, status: CacheStatus) -> Lookup {
    match (content, Version::try_from(version)) {
        (Content::Present { mark, body }, Ok(version)) => Lookup::Found(Entry {
            version,
            mark,
            body,
            status,
        }),
        // A present entry without a version is not decoded.
        (Content::Absent | Content::Present { .. }, _) => Lookup::Absent,
    }
}
