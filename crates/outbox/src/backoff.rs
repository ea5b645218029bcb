//! Waiting: for the end, and after failures.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long the last pass at shutdown may take, and how much later the tail ends in any case. The process exits 5 s after its
/// grace period, which requests may use up: by then the lease has to be handed over, or the next owner waits until it is over.
const LAST_PASS: Duration = Duration::from_secs(2);
const HANDING_OVER: Duration = Duration::from_secs(2);
const _: () = assert!(LAST_PASS.as_secs() + HANDING_OVER.as_secs() <= 4);
/// The longest pause once the tail was told to stop.
const HURRY: Duration = Duration::from_millis(20);
/// Bounds of the waiting time after a failure.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Whether a tail was told to stop, and since when.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// Told when `stop` completes. The first future has to be polled for that, and completes when the time for
    /// stopping is over.
    pub(crate) fn after(stop: impl Future<Output = ()>) -> (impl Future<Output = ()>, Stop) {
        let (tell, told) = watch::channel(None);
        let telling = async move {
            stop.await;
            tell.send_replace(Some(Instant::now()));
            tokio::time::sleep(LAST_PASS + HANDING_OVER).await;
        };
        (telling, Stop(told))
    }

    pub(crate) fn is_told(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for `time`, or until it is told to stop.
    pub(crate) async fn pause(&mut self, time: Duration) {
        if self.is_told() {
            // Look again soon, without spinning.
            tokio::time::sleep(time.min(HURRY)).await;
            return;
        }
        let _ = tokio::time::timeout(time, self.0.changed()).await;
    }

    pub(crate) async fn last_pass_is_over(&self) {
        let mut told = self.0.clone();
        let since = told.wait_for(Option::is_some).await.ok().and_then(|since| *since);
        let Some(since) = since else {
            // Nobody can tell any more, because the tail itself is being dropped.
            return std::future::pending().await;
        };
        tokio::time::sleep_until(since + LAST_PASS).await;
    }
}

/// Exponential waiting times with jitter, so that replicas don't return in step.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { next: SHORTEST }
    }

    pub(crate) fn reset(&mut self) {
        self.next = SHORTEST;
    }

    pub(crate) async fn wait(&mut self, stop: &mut Stop) {
        let jittered = self.next.mul_f64(rand::random_range(0.5..1.0));
        self.next = (self.next * 2).min(LONGEST);
        stop.pause(jittered).await;
    }
}
