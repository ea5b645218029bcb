use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const UNPOISONED: &str = "nothing panics while it holds the lock";

/// How many invalidations of a key are remembered with their times.
const REMEMBERED: usize = 2_000;

/// What is known to be invalidated, and so must not be read any more: the checker of a cache's reads.
///
/// Whoever learns that an invalidation has been applied says so with [`History::applied`], never before that. A reader takes
/// [`History::begin`] before its read and gives the version that it was answered with to [`Begun::judge`]. Keys are 0 and up.
#[derive(Debug)]
pub struct History(Vec<Known>);

#[derive(Debug, Default)]
struct Known {
    floor: AtomicI64,
    /// The newest ones, each with the time from which on it is known; rising.
    applied: Mutex<VecDeque<(Instant, i64)>>,
}

/// A read that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub key: usize,
    pub at: Instant,
    /// The version below which it must not be answered.
    pub floor: i64,
}

/// A read that was answered with what had been invalidated before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub key: usize,
    pub began: Instant,
    pub version: i64,
    pub floor: i64,
    /// For how long a newer version had been known to be invalidated with when the read began; at least.
    pub since: Duration,
}

impl History {
    pub fn new(keys: usize) -> History {
        History((0..keys).map(|_| Known::default()).collect())
    }

    /// From now on nothing older than `version` may be read.
    pub fn applied(&self, key: usize, version: i64) {
        let known = &self.0[key];
        let mut applied = known.applied.lock().expect(UNPOISONED);
        if applied.back().is_some_and(|(_, newest)| *newest >= version) {
            return;
        }
        applied.push_back((Instant::now(), version));
        if applied.len() > REMEMBERED {
            applied.pop_front();
        }
        known.floor.store(version, Ordering::SeqCst);
    }

    pub fn begin(&self, key: usize) -> Begun {
        let floor = self.0[key].floor.load(Ordering::SeqCst);
        Begun {
            key,
            at: Instant::now(),
            floor,
        }
    }
}

impl Begun {
    /// Whether `version`, which it was answered with, is one that was invalidated `grace` before it began, or earlier. The grace
    /// is for answers that may be so old; 0 for all others.
    pub fn judge(self, history: &History, version: i64, grace: Duration) -> Option<Stale> {
        if version >= self.floor {
            return None;
        }
        let applied = history.0[self.key].applied.lock().expect(UNPOISONED);
        // What is forgotten is older than all that is remembered.
        let newer = applied.iter().find(|(_, invalidated)| *invalidated > version);
        let since = newer.map_or(Duration::MAX, |(known, _)| self.at.duration_since(*known));
        (since >= grace).then_some(Stale {
            key: self.key,
            began: self.at,
            version,
            floor: self.floor,
            since,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_stale_when_a_newer_version_was_known_before_it_began() {
        let history = History::new(1);
        let before = history.begin(0);
        history.applied(0, 3);
        history.applied(0, 2);
        assert_eq!(before.judge(&history, 1, Duration::ZERO), None, "it began before");
        let after = history.begin(0);
        assert_eq!(after.judge(&history, 3, Duration::ZERO), None);
        let stale = after.judge(&history, 2, Duration::ZERO).unwrap();
        assert_eq!((stale.version, stale.floor), (2, 3));
        assert_eq!(
            after.judge(&history, 2, Duration::from_secs(60)),
            None,
            "within the grace"
        );
    }
}
