//! How far invalidations have come.
//!
//! Whoever re-applies invalidations from the outbox publishes (T, lag): all that was committed before T has been applied,
//! and T was `lag` ago by the database's clock. Each process looks at it, off the read path. While it is too old, entries
//! are answered only while they are young themselves.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::millis;

const UNPOISONED: &str = "nothing panics while it holds the lock";

/// What is published: both in ms, T since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) to: u64,
    pub(crate) lag: u64,
}

impl fmt::Display for Published {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.to, self.lag)
    }
}

impl FromStr for Published {
    type Err = ();

    fn from_str(text: &str) -> Result<Published, ()> {
        let (to, lag) = text.split_once(' ').ok_or(())?;
        Ok(Published {
            to: to.parse().map_err(|_| ())?,
            lag: lag.parse().map_err(|_| ())?,
        })
    }
}

/// This process's view of it.
pub(crate) struct Watermark {
    /// Entries older than this need the watermark.
    bound: Duration,
    base: Instant,
    seen: Mutex<Seen>,
    /// ms after `base` from which on the watermark is too old.
    trusted_until: AtomicU64,
}

#[derive(Default)]
struct Seen {
    to: Option<u64>,
    /// When the last look began.
    looked: Option<Instant>,
    /// When T had not risen yet, and the lag. `None` until it has been seen to rise.
    rose: Option<(Instant, Duration)>,
}

impl Watermark {
    /// A `bound` of zero means that entries need no watermark.
    pub(crate) fn new(bound: Duration) -> Watermark {
        Watermark {
            bound,
            base: Instant::now(),
            seen: Mutex::new(Seen::default()),
            trusted_until: AtomicU64::new(0),
        }
    }

    /// Whether an entry of this age may be answered without asking its source.
    pub(crate) fn covers(&self, age: Duration) -> bool {
        if age < self.bound || self.bound.is_zero() {
            return true;
        }
        millis(self.base.elapsed()) < self.trusted_until.load(Ordering::Relaxed)
    }

    /// What a look that began at `began` found; `None` when there is none, because it was withdrawn or lost.
    pub(crate) fn read(&self, began: Instant, published: Option<Published>) {
        let mut seen = self.seen.lock().expect(UNPOISONED);
        let Some(published) = published else {
            *seen = Seen::default();
            self.trusted_until.store(0, Ordering::Relaxed);
            return;
        };
        // The first one may have been there for hours: only one that rises shows that somebody is at work. By change
        // alone, a T that jumps back and forth, between two that publish, would look fresh.
        // It rose after the look before this one began; a process that was suspended between them must not count from now.
        if let (Some(before), Some(rose)) = (seen.to, seen.looked)
            && published.to > before
        {
            let lag = Duration::from_millis(published.lag);
            seen.rose = Some((rose, lag));
            let until = (rose.duration_since(self.base) + self.bound).saturating_sub(lag);
            self.trusted_until.store(millis(until), Ordering::Relaxed);
        }
        seen.to = seen.to.max(Some(published.to));
        seen.looked = Some(began);
    }

    /// `None` is infinite.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (rose, lag) = self.seen.lock().expect(UNPOISONED).rose?;
        Some(lag + rose.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUND: Duration = Duration::from_secs(15);

    fn published(to: u64, lag: u64) -> Option<Published> {
        Some(Published { to, lag })
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_trusted_only_after_it_rose_and_until_it_is_old() {
        let watermark = Watermark::new(BOUND);
        let read = |published| watermark.read(Instant::now(), published);
        read(published(1000, 0));
        assert!(watermark.covers(BOUND / 2), "a young entry needs none");
        assert!(!watermark.covers(BOUND));
        assert_eq!(watermark.age(), None);

        read(published(1500, 2000));
        assert!(watermark.covers(BOUND * 2));
        assert_eq!(watermark.age(), Some(2 * SECOND));
        tokio::time::advance(12 * SECOND).await;
        read(published(1500, 0));
        read(published(1400, 0));
        assert!(watermark.covers(BOUND * 2));
        assert_eq!(
            watermark.age(),
            Some(14 * SECOND),
            "what does not rise gets older"
        );
        tokio::time::advance(SECOND).await;
        assert!(!watermark.covers(BOUND));

        read(published(1501, 0));
        assert!(watermark.covers(BOUND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_suspended_does_not_trust_what_rose_before() {
        let watermark = Watermark::new(BOUND);
        watermark.read(Instant::now(), published(1000, 0));
        watermark.read(Instant::now(), published(1001, 0));
        // T rises to 1002, then whoever publishes it dies, and this process sleeps.
        tokio::time::advance(BOUND * 4).await;
        watermark.read(Instant::now(), published(1002, 0));
        assert!(!watermark.covers(BOUND));
    }

    #[tokio::test(start_paused = true)]
    async fn withdrawn_it_starts_anew() {
        let watermark = Watermark::new(BOUND);
        let read = |published| watermark.read(Instant::now(), published);
        read(published(1000, 0));
        read(published(1001, 0));
        assert!(watermark.covers(BOUND));
        read(None);
        assert!(!watermark.covers(BOUND));
        read(published(1002, 0));
        assert!(!watermark.covers(BOUND));
        read(published(1003, 0));
        assert!(watermark.covers(BOUND));
    }

    #[test]
    fn a_bound_of_zero_asks_for_none() {
        assert!(Watermark::new(Duration::ZERO).covers(Duration::MAX));
    }

    #[test]
    fn the_published_text_is_read_back() {
        let published = Published {
            to: 1_764_000_000_000,
            lag: 12,
        };
        assert_eq!(published.to_string().parse(), Ok(published));
        assert!("".parse::<Published>().is_err());
        assert!("1".parse::<Published>().is_err());
    }
}
