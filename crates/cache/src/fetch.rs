//! What a flight does: lease, load, populate. What it asks of Redis for that is in `lease`.

mod lease;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use self::lease::{Lease, Leased};
use crate::bulkhead::{Bulkhead, Permit, Shed};
use crate::clock::millis;
use crate::entry::{CacheStatus, Content, Forward, Loaded, Stored};
use crate::flight::Pilot;
use crate::key::Keys;
use crate::namespace::{Cause, Inner, Source, TOO_LARGE, Unavailable};
use crate::verdict::Verdict;

/// What those who waited for a flight get.
pub(crate) type Landing = Result<Fetched, Unavailable>;

#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) version: i64,
    pub(crate) content: Content,
    pub(crate) how: How,
}

/// How a flight got what it lands with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Loaded and stored.
    Stored,
    /// Loaded, and Redis refused it or did not answer.
    Loaded,
    /// Loaded without asking Redis for a lease, or in vain.
    Bypassed,
    /// Another process had stored it.
    Awaited,
}

/// Why a flight takes off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// Somebody waits, whose request has this `budget`. `seen` is the soft expiry of the entry that will not do; 0 for none.
    Miss { seen: u64, budget: Duration },
    /// Nobody waits: an entry was answered, and is to be replaced.
    Refresh { seen: u64, why: &'static str },
    /// Somebody waits, and Redis cannot help or must not be written to.
    Apart { why: &'static str },
}

impl Errand {
    fn forward(self) -> Forward {
        match self {
            Errand::Miss { seen: 0, .. } | Errand::Apart { why: TOO_LARGE } => Forward::Miss,
            Errand::Miss { .. } | Errand::Refresh { .. } => Forward::Stale,
            Errand::Apart { .. } => Forward::Bypass,
        }
    }

    /// What to tell who came with it, and got what a flight got `how`. `leads`: the flight was begun for him.
    pub(crate) fn status(self, how: How, leads: bool) -> CacheStatus {
        let forward = match how {
            How::Bypassed => Forward::Bypass,
            How::Stored | How::Loaded | How::Awaited => self.forward(),
        };
        match how {
            How::Awaited => CacheStatus::Awaited(forward),
            _ if !leads => CacheStatus::Collapsed(forward),
            How::Stored => CacheStatus::Stored(forward),
            How::Loaded | How::Bypassed => CacheStatus::Loaded(forward),
        }
    }
}

/// Pauses of who waits for another's lease.
const POLL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

type Flying = Pilot<String, Landing>;

/// Flies rounds until nobody waits.
pub(crate) async fn fly<S: Source>(
    namespace: Arc<Inner<S>>,
    key: S::Key,
    data: String,
    pilot: Flying,
    mut errand: Errand,
) {
    let keys = Keys::of_data(data);
    let mut next = Some(pilot);
    while let Some(pilot) = next {
        let round = Round {
            namespace: &namespace,
            key: &key,
            keys: &keys,
        };
        next = match errand {
            Errand::Miss { seen, budget } => round.contend(pilot, seen, budget).await,
            Errand::Refresh { seen, why } => round.refresh(pilot, seen, why).await,
            Errand::Apart { why } => round.load_apart(pilot, why, None).await,
        };
        // Who joined too late for this round has seen nothing.
        if let Errand::Miss { .. } | Errand::Refresh { .. } = errand {
            errand = Errand::Miss {
                seen: 0,
                budget: namespace.policy.request_budget,
            };
        }
    }
}

struct Round<'a, S: Source> {
    namespace: &'a Arc<Inner<S>>,
    key: &'a S::Key,
    keys: &'a Keys,
}

impl<S: Source> Round<'_, S> {
    /// Leases, waiting for others' leases, and loads.
    async fn contend(&self, pilot: Flying, mut seen: u64, budget: Duration) -> Option<Flying> {
        // Not his budget: others wait with him, and who has no time left goes away by himself.
        let deadline = Instant::now() + self.namespace.policy.request_budget;
        let bulkhead = &self.namespace.core.bulkhead;
        let mut pause = POLL.0;
        let mut turn: Option<Permit> = None;
        let mut turn_by = None;
        loop {
            let sent = pilot.sending();
            match self.lease(seen, sent, budget).await {
                Ok(Leased::Won(lease)) => {
                    if let Some(permit) = turn.take().or_else(|| bulkhead.enter_now()) {
                        return self.load(pilot, lease, permit, "miss").await;
                    }
                    // The lease would end while this waits for its turn, and what is loaded then would not be stored. So the
                    // turn comes first, and another lease with it.
                    self.release(&lease).await;
                    let by = *turn_by.get_or_insert_with(Bulkhead::deadline);
                    match bulkhead.enter(by).await {
                        Ok(permit) => turn = Some(permit),
                        Err(Shed) => return shed(pilot),
                    }
                    pause = POLL.0;
                }
                Ok(Leased::Fresh(stored)) => {
                    let now = self.namespace.core.link.clock.now();
                    if self.namespace.judge(&stored, now) != Verdict::Expired {
                        return pilot.land(&Ok(Fetched::awaited(stored)), sent);
                    }
                    // Too old while the watermark is; the next lease is not refused because of it.
                    seen = stored.soft_expiry;
                }
                Ok(Leased::Busy(left)) => {
                    // Somebody who only gives his back has it for a moment; a turn is not given up for that.
                    if pause > POLL.0 {
                        turn = None;
                    }
                    if Instant::now() >= deadline {
                        pilot.land_for_all(&Err(Unavailable::TooSlow));
                        return None;
                    }
                    sleep(pause.min(left)).await;
                    pause = (pause * 2).min(POLL.1);
                }
                Ok(Leased::Newer) => return self.load_apart(pilot, "newer", turn).await,
                Err(error) => {
                    tracing::debug!(%error, "redis gave no lease");
                    return self.load_apart(pilot, "bypass", turn).await;
                }
            }
        }
    }

    /// Replaces an entry that still can be answered: only when that is nobody else's turn, and costs nobody time.
    async fn refresh(&self, pilot: Flying, seen: u64, why: &'static str) -> Option<Flying> {
        let Some(permit) = self.namespace.core.bulkhead.enter_now() else {
            return pilot.land_for_none();
        };
        let sent = pilot.sending();
        let budget = self.namespace.policy.request_budget;
        match self.lease(seen, sent, budget).await {
            Ok(Leased::Won(lease)) => self.load(pilot, lease, permit, why).await,
            Ok(Leased::Fresh(stored)) => {
                let now = self.namespace.core.link.clock.now();
                if self.namespace.judge(&stored, now) == Verdict::Expired {
                    return pilot.land_for_none();
                }
                pilot.land(&Ok(Fetched::awaited(stored)), sent)
            }
            Ok(Leased::Busy(_) | Leased::Newer) | Err(_) => pilot.land_for_none(),
        }
    }

    async fn load(&self, pilot: Flying, lease: Lease, permit: Permit, why: &'static str) -> Option<Flying> {
        let started = Instant::now();
        let loaded = match self.ask(why, permit).await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.release(&lease).await;
                pilot.land_for_all(&Err(error));
                return None;
            }
        };
        let stored = self.stored(loaded, &lease);
        if stored.size() > self.namespace.policy.largest_body {
            self.is_large();
            self.release(&lease).await;
            return pilot.land(&Ok(Fetched::of(stored, How::Loaded)), lease.sent);
        }
        let populate = pilot.sending();
        match self.populate(&lease, &stored).await {
            Ok(true) => {
                self.namespace.pace.stored(started.elapsed());
                pilot.land(&Ok(Fetched::of(stored, How::Stored)), populate)
            }
            // Nothing in Redis vouches for it: only for those who wanted it before the lease.
            Ok(false) | Err(_) => pilot.land(&Ok(Fetched::of(stored, How::Loaded)), lease.sent),
        }
    }

    /// Loads, and stores nothing in Redis.
    async fn load_apart(&self, pilot: Flying, why: &'static str, turn: Option<Permit>) -> Option<Flying> {
        let permit = match turn {
            Some(permit) => permit,
            None => match self.namespace.core.bulkhead.enter(Bulkhead::deadline()).await {
                Ok(permit) => permit,
                Err(Shed) => return shed(pilot),
            },
        };
        let load = pilot.sending();
        let invalidated = self.namespace.invalidated.load(Ordering::SeqCst);
        let started = Instant::now();
        let (version, content) = match self.ask(why, permit).await {
            Ok(Some(loaded)) => loaded.parts(),
            Ok(None) => (0, Content::Absent),
            Err(error) => {
                pilot.land_for_all(&Err(error));
                return None;
            }
        };
        if why == TOO_LARGE && size(&content) > self.namespace.policy.largest_body {
            self.is_large();
        }
        let small = size(&content) <= LARGEST_LOCAL;
        // Otherwise this process may know better by now.
        let unchanged = self.namespace.invalidated.load(Ordering::SeqCst) == invalidated;
        if why == "bypass" && small && unchanged {
            self.namespace
                .local
                .insert(&self.keys.data, started, (version, content.clone()));
        }
        let how = match why {
            TOO_LARGE => How::Loaded,
            _ => How::Bypassed,
        };
        pilot.land(
            &Ok(Fetched {
                version,
                content,
                how,
            }),
            load,
        )
    }

    fn is_large(&self) {
        self.namespace.meters.populate(TOO_LARGE);
        self.namespace.large.insert(&self.keys.data, Instant::now(), ());
    }

    /// Asks the source, within its limit. A panic is an error like others; an error is remembered.
    async fn ask(&self, why: &'static str, permit: Permit) -> Result<Option<Loaded>, Unavailable> {
        let namespace = self.namespace;
        namespace.meters.load(why);
        let started = Instant::now();
        // Called within: what a loader does before it returns its future can panic too.
        let loading = AssertUnwindSafe(async { namespace.source.load(self.key).await }).catch_unwind();
        let outcome = match timeout(namespace.policy.load_limit, loading).await {
            Ok(Ok(Ok(loaded))) => Ok(loaded),
            Ok(Ok(Err(error))) => Err(Unavailable::Failed(Cause::new(error))),
            Ok(Err(_)) => {
                let error = anyhow::anyhow!("the loader of {} panicked", S::NAMESPACE);
                tracing::error!(
                    error.type = "panicked",
                    namespace = S::NAMESPACE,
                    "the loader of {} panicked",
                    S::NAMESPACE
                );
                Err(Unavailable::Failed(Cause::new(error)))
            }
            Err(_) => Err(Unavailable::TooSlow),
        };
        drop(permit);
        let took = started.elapsed();
        namespace.meters.load_time.record(took.as_secs_f64());
        match &outcome {
            Ok(_) => namespace.pace.loaded(took),
            Err(failure) => namespace
                .failures
                .insert(&self.keys.data, Instant::now(), failure.clone()),
        }
        outcome
    }

    fn stored(&self, loaded: Option<Loaded>, lease: &Lease) -> Stored {
        let policy = &self.namespace.policy;
        let (version, content, ttl) = match loaded.map(Loaded::parts) {
            Some((version, content)) => (version, content, policy.soft_ttl),
            None => (lease.floor, Content::Absent, policy.negative_ttl),
        };
        let fresh_for = policy.jittered(ttl, rand::random());
        Stored {
            version,
            loaded_at: lease.taken_at,
            soft_expiry: lease.taken_at + millis(fresh_for),
            cost: self.namespace.pace.cost(),
            content,
        }
    }
}

fn shed(pilot: Flying) -> Option<Flying> {
    pilot.land_for_all(&Err(Unavailable::Shed));
    None
}

/// Larger bodies are not kept in this process: 1,000 entries of it are 16 MiB.
const LARGEST_LOCAL: usize = 16 * 1024;

fn size(content: &Content) -> usize {
    match content {
        Content::Absent => 0,
        Content::Present { body, .. } => body.len(),
    }
}

impl Loaded {
    pub(crate) fn parts(self) -> (i64, Content) {
        let Loaded { version, mark, body } = self;
        (version.get(), Content::Present { mark, body })
    }
}

impl Stored {
    fn size(&self) -> usize {
        size(&self.content)
    }
}

impl Fetched {
    fn of(stored: Stored, how: How) -> Fetched {
        Fetched {
            version: stored.version,
            content: stored.content,
            how,
        }
    }

    fn awaited(stored: Stored) -> Fetched {
        Fetched::of(stored, How::Awaited)
    }
}
