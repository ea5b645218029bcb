//! The time as Redis has it: entries and leases are stamped with it, so that no process's own clock matters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Redis's clock, as told by its replies and carried on by this process's monotonic clock.
///
/// A reply is old by the time that it took, so the latest time that was told is the nearest to the truth: one that arrives
/// late does not turn the clock back, and no entry that has expired becomes fresh again.
pub(crate) struct Clock {
    base: Instant,
    /// Redis's time at `base`, ms since 1970; 0 before the first reply.
    at_base: AtomicU64,
    /// What a reply may be late by, ms. A time from farther back is another clock: a new Redis, or one that was set.
    slack: u64,
}

impl Clock {
    /// `slack`: how long a reply may take.
    pub(crate) fn new(slack: Duration) -> Clock {
        Clock {
            base: Instant::now(),
            at_base: AtomicU64::new(0),
            slack: millis(slack),
        }
    }

    /// A reply that was just received said that it is `now`.
    pub(crate) fn learn(&self, now: u64) {
        let told = now.saturating_sub(self.elapsed());
        let known = self.at_base.load(Ordering::Relaxed);
        if !(told..=told + self.slack).contains(&known) {
            self.at_base.store(told, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_reply_does_not_turn_it_back_and_another_clock_does() {
        let clock = Clock::new(Duration::from_secs(10));
        let minutes = |minutes: u64| minutes * 60_000;
        let shows = |expected: u64| (expected..expected + 9_000).contains(&clock.now());
        clock.learn(minutes(100));
        assert!(shows(minutes(100)));
        clock.learn(minutes(100) - 9_000);
        assert!(shows(minutes(100)), "a late reply");
        clock.learn(minutes(101));
        assert!(shows(minutes(101)), "an earlier reply was late");
        clock.learn(minutes(90));
        assert!(shows(minutes(90)), "another clock");
    }
}
