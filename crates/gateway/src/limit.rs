//! How often: a generic cell rate algorithm over keys that nobody can make run out of memory.
//!
//! GCRA (ITU-T I.371) keeps one number a key: when the bucket would be full again. Here it is nanoseconds since the
//! limiter began.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `burst` at once, and `rate` in each `per` on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nanoseconds that one request costs.
    cost: u64,
    /// Nanoseconds of cost that may be outstanding.
    depth: u64,
}

impl Quota {
    /// The quota, unless one of the three is zero or the numbers are absurd (an hour and a million are the most).
    pub fn new(rate: u32, per: Duration, burst: u32) -> Option<Quota> {
        const MOST: u32 = 1_000_000;
        let sensible = (1..=MOST).contains(&rate)
            && (1..=MOST).contains(&burst)
            && (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&per);
        // Rounded up, so that rounding never admits more than `rate`.
        let cost = u64::try_from(per.as_nanos())
            .ok()?
            .div_ceil(u64::from(rate.max(1)));
        sensible.then_some(Quota {
            cost,
            depth: cost * u64::from(burst),
        })
    }

    /// When a bucket that is full again at `full_at` will be once a request at `now` is admitted, or how many
    /// nanoseconds too early the request is.
    fn take(self, full_at: u64, now: u64) -> Result<u64, u64> {
        let next = full_at.max(now) + self.cost;
        match next.checked_sub(now + self.depth) {
            None | Some(0) => Ok(next),
            Some(early) => Err(early),
        }
    }
}

const SHARDS: usize = 16;
/// Buckets in each shard for the keys that found no room of their own.
const SHARED: usize = 256;
/// How often a full shard looks for keys to forget, at most, in nanoseconds.
const SWEEP_EVERY: u64 = 1_000_000_000;

/// One quota for each of many keys.
///
/// At most a fixed number of keys have a bucket of their own, each of two words. Only a key whose bucket is full again
/// is forgotten, which changes nothing for it. While there is none, new keys share 4,096 buckets by a keyed hash: a
/// flood of keys limits itself, and nobody's limit is reset by it.
pub struct Limiter {
    quota: Quota,
    began: Instant,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

struct Shard {
    own: HashMap<u64, u64>,
    most: usize,
    shared: Box<[u64]>,
    swept_at: u64,
}

impl Limiter {
    /// A limiter in which up to `keys` keys have a bucket of their own.
    pub fn new(quota: Quota, keys: usize) -> Limiter {
        let shard = || {
            Mutex::new(Shard {
                own: HashMap::new(),
                most: keys.div_ceil(SHARDS),
                shared: vec![0; SHARED].into_boxed_slice(),
                swept_at: 0,
            })
        };
        Limiter {
            quota,
            began: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Counts a request of `key` now, or says how long it has to wait.
    pub fn admit(&self, key: &(impl Hash + ?Sized)) -> Result<(), Duration> {
        self.admit_at(key, self.began.elapsed())
    }

    /// The same at a time of the caller's choosing, counted from the limiter's beginning; for tests.
    pub fn admit_at(&self, key: &(impl Hash + ?Sized), now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        // Two keys of the same 64 bits share a bucket. The hash is keyed, so nobody can aim at one.
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shards[hash as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let full_at = shard.bucket(hash, now);
        *full_at = self.quota.take(*full_at, now).map_err(Duration::from_nanos)?;
        Ok(())
    }

    /// How many keys have a bucket of their own.
    pub fn keys(&self) -> usize {
        let own = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.own.len()
        };
        self.shards.iter().map(own).sum()
    }
}

impl Shard {
    fn bucket(&mut self, hash: u64, now: u64) -> &mut u64 {
        let known = self.own.contains_key(&hash);
        if !known && self.own.len() >= self.most && now >= self.swept_at + SWEEP_EVERY {
            self.swept_at = now;
            self.own.retain(|_, full_at| *full_at > now);
        }
        let shared = &mut self.shared[(hash >> 32) as usize % SHARED];
        if known || self.own.len() < self.most {
            // What the key may have spent from the shared bucket stays spent.
            self.own.entry(hash).or_insert(*shared)
        } else {
            shared
        }
    }
}
