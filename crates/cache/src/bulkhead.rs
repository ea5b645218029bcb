//! What keeps the cache's loads from taking the whole database: so many at once, so many that wait, and not for long.
//! When Redis is gone, every read becomes a load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// How long a load waits for its turn. Longer, and its reader is better told to come back: a queue that drains slower
/// than it fills helps nobody.
const WAIT: Duration = Duration::from_secs(1);
/// So many wait for each that loads. With loads of a few ms they all have their turn within [`WAIT`]; with slower ones
/// the rest is told at once.
const WAITING_FOR_EACH: usize = 100;

pub(crate) struct Bulkhead {
    permits: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
}

/// There are too many loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shed;

/// The right to load; given back when dropped.
pub(crate) struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Bulkhead {
    pub(crate) fn new(size: usize) -> Bulkhead {
        Bulkhead {
            permits: Arc::new(Semaphore::new(size)),
            size,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Until when who comes now may wait for his turn.
    pub(crate) fn deadline() -> Instant {
        Instant::now() + WAIT
    }

    /// Waits for its turn, within bounds.
    pub(crate) async fn enter(&self, by: Instant) -> Result<Permit, Shed> {
        if let Some(permit) = self.enter_now() {
            return Ok(permit);
        }
        let waiting = Waiting::begin(&self.waiting);
        if waiting.ahead >= self.size * WAITING_FOR_EACH {
            return Err(self.shed());
        }
        match timeout_at(by, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(self.shed()),
        }
    }

    /// For a load that is not urgent: only while nobody has to wait.
    pub(crate) fn enter_now(&self) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().ok().map(Permit)
    }

    pub(crate) fn in_use(&self) -> usize {
        self.size - self.permits.available_permits()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn shed(&self) -> Shed {
        metrics::counter!("cache_loads_shed_total").increment(1);
        Shed
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    ahead: usize,
}

impl Waiting<'_> {
    fn begin(count: &AtomicUsize) -> Waiting<'_> {
        Waiting {
            ahead: count.fetch_add(1, Ordering::Relaxed),
            count,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_load_waits_for_its_turn_and_not_for_ever() {
        let bulkhead = Bulkhead::new(1);
        let first = bulkhead.enter(Bulkhead::deadline()).await.ok().unwrap();
        assert!(bulkhead.enter_now().is_none());
        assert_eq!(bulkhead.enter(Bulkhead::deadline()).await.err(), Some(Shed));
        drop(first);
        assert!(bulkhead.enter(Bulkhead::deadline()).await.is_ok());
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let bulkhead = Bulkhead::new(1);
        let _first = bulkhead.enter(Bulkhead::deadline()).await.ok().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut queue: Vec<_> = (0..WAITING_FOR_EACH)
            .map(|_| Box::pin(bulkhead.enter(Bulkhead::deadline())))
            .collect();
        for waiting in &mut queue {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        assert!(
            pin!(bulkhead.enter(Bulkhead::deadline()))
                .poll(&mut context)
                .is_ready()
        );
        drop(queue);
        assert_eq!(bulkhead.waiting(), 0);
    }
}
