//! The time as Redis has it: entries and leases are stamped with it, so that no process's own clock matters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Redis's clock, as told by its replies and carried on by this process's monotonic clock.
pub(crate) struct Clock {
    base: Instant,
    /// Redis's time at `base`, ms since 1970; 0 before the first reply.
    at_base: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            base: Instant::now(),
            at_base: AtomicU64::new(0),
        }
    }

    /// A reply that was just received said that it is `now`. By then it is a little later, by at most the command's limit.
    pub(crate) fn learn(&self, now: u64) {
        self.at_base
            .store(now.saturating_sub(self.elapsed()), Ordering::Relaxed);
    }

    /// Redis time in ms. Each connection begins with learning it, so that who has read an entry knows it.
    pub(crate) fn now(&self) -> u64 {
        self.at_base.load(Ordering::Relaxed) + self.elapsed()
    }

    fn elapsed(&self) -> u64 {
        millis(self.base.elapsed())
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
