//! The two phases of a shutdown, and the signals that begin it.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// No longer ready, but still serving: callers need time to notice.
    LameDuck,
    /// Accept and poll nothing more; finish what is in flight.
    Stopping,
}

/// Where the process is between running and stopping; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    /// Returns when the process is no longer ready; until [`stop`](Self::stop) it still serves.
    pub async fn lame_duck(&self) {
        self.reached(Phase::LameDuck).await;
    }

    /// Returns when no new work may begin.
    pub async fn stop(&self) {
        self.reached(Phase::Stopping).await;
    }

    /// Whether callers should be sent elsewhere; true in both phases.
    pub fn is_lame_duck(&self) -> bool {
        *self.0.borrow() >= Phase::LameDuck
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the sender is gone, and with it the process's signal handler: it is about to end as well.
        let _ = self.0.clone().wait_for(|current| *current >= phase).await;
    }
}

#[derive(Clone)]
pub(crate) struct Trigger(watch::Sender<Phase>);

impl Trigger {
    /// `main` is over, for whatever reason: nothing more is served.
    pub(crate) fn end(&self) {
        self.0.send_replace(Phase::Stopping);
    }
}

pub(crate) fn phases() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Shutdown(receiver))
}

/// Handlers are in place when this returns; the future that it returns then waits for a signal and leads through the phases.
pub(crate) fn on_signal(
    trigger: Trigger,
    drain_delay: Duration,
    grace: Duration,
) -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = Signals::install()?;
    Ok(async move {
        let name = signals.next().await;
        // The phase first: whoever reads the line may rely on it.
        trigger.0.send_replace(Phase::LameDuck);
        tracing::info!(
            signal = name,
            drain_delay_seconds = drain_delay.as_secs_f64(),
            "shutting down: no longer ready, still serving",
        );
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => {}
            name = signals.next() => exit_at_once(name),
        }
        tracing::info!(
            grace_seconds = grace.as_secs_f64(),
            "shutting down: finishing what is in flight"
        );
        trigger.0.send_replace(Phase::Stopping);
        tokio::select! {
            () = tokio::time::sleep(grace + AFTER_GRACE) => {
                tracing::error!(error.type = "grace_exceeded", "the process did not stop within its grace period");
                std::process::exit(1);
            }
            name = signals.next() => exit_at_once(name),
        }
    })
}

/// What `main` gets on top of the grace period, which requests in flight may use up, to commit offsets and close clients.
const AFTER_GRACE: Duration = Duration::from_secs(5);

fn exit_at_once(signal: &str) {
    tracing::warn!(signal, "exiting at once");
    std::process::exit(1);
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Signals> {
        let install = |kind| signal(kind).context("cannot install a signal handler");
        Ok(Signals {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn stop_comes_only_after_the_lame_duck() {
        let (trigger, shutdown) = phases();
        assert!(!shutdown.is_lame_duck());
        assert!(shutdown.lame_duck().now_or_never().is_none());

        trigger.0.send_replace(Phase::LameDuck);
        assert!(shutdown.is_lame_duck());
        assert!(shutdown.lame_duck().now_or_never().is_some());
        assert!(shutdown.stop().now_or_never().is_none());

        trigger.0.send_replace(Phase::Stopping);
        assert!(shutdown.lame_duck().now_or_never().is_some());
        assert!(shutdown.stop().now_or_never().is_some());
    }

    #[test]
    fn a_lost_signal_handler_counts_as_stop() {
        let (trigger, shutdown) = phases();
        drop(trigger);
        assert!(shutdown.stop().now_or_never().is_some());
    }
}
