//! What a running process tells its surroundings.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::ServiceConfig;

use crate::args::HttpArgs;
use crate::http;
use crate::listener::Listeners;
use crate::observe::RequestIds;
use crate::shutdown::Shutdown;

/// The running process, as `main` sees it; cheap to clone.
#[derive(Clone)]
pub struct Process {
    shutdown: Shutdown,
    pub(crate) grace: Duration,
    listeners: Listeners,
    health: Arc<Health>,
}

/// The state behind `/readyz` and `/livez`.
pub(crate) struct Health {
    started: Instant,
    ready: Mutex<Vec<(&'static str, Arc<AtomicBool>)>>,
    /// Whether all conditions have been met once.
    was_ready: AtomicBool,
    beats: Mutex<Vec<Beat>>,
}

struct Beat {
    name: &'static str,
    max_age: Duration,
    last_ms: Arc<AtomicU64>,
}

/// How long the runtime may fail to run a trivial task before `/livez` says so.
const RUNTIME_MAX_AGE: Duration = Duration::from_secs(30);

impl Process {
    pub(crate) fn new(shutdown: Shutdown, grace: Duration, listeners: Listeners) -> Process {
        Process {
            shutdown,
            grace,
            listeners,
            health: Arc::new(Health {
                started: Instant::now(),
                ready: Mutex::default(),
                was_ready: AtomicBool::new(false),
                beats: Mutex::default(),
            }),
        }
    }

    /// Adds a condition of readiness, not met until [`Readiness::set`] says so. The process is ready when it has conditions, all of
    /// them are met, and it is not shutting down.
    pub fn readiness(&self, check: &'static str) -> Readiness {
        let met = Arc::new(AtomicBool::new(false));
        lock(&self.health.ready).push((check, Arc::clone(&met)));
        Readiness {
            check,
            met,
            health: Arc::clone(&self.health),
        }
    }

    /// Adds a loop that must turn at least every `max_age`; `/livez` fails when it does not, and the process is then restarted. Only
    /// for loops that turn without any dependency.
    pub fn heartbeat(&self, name: &'static str, max_age: Duration) -> Heartbeat {
        let heartbeat = Heartbeat {
            started: self.health.started,
            last_ms: Arc::default(),
        };
        heartbeat.beat();
        lock(&self.health.beats).push(Beat {
            name,
            max_age,
            last_ms: Arc::clone(&heartbeat.last_ms),
        });
        heartbeat
    }

    /// The phases of the shutdown.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Serves HTTP/1.1 until the process stops, and returns when the requests in flight are answered or the grace period is over.
    ///
    /// `configure` adds the routes (by `web::resource`: an `App::route` answers 404 to another method of its path). Every request runs in a server span, is counted and timed, and gets a fresh request id; a path or
    /// method that no route takes, and a body that cannot be read, are answered with a [`Problem`](crate::Problem).
    ///
    /// # Errors
    /// When the address cannot be bound, or the server fails.
    pub async fn http(
        &self,
        args: &HttpArgs,
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> anyhow::Result<()> {
        http::serve(self, args, RequestIds::Fresh, configure).await
    }

    /// Like [`http`](Self::http), for a process that only the gateway calls: its `x-request-id` is kept when it is a UUID, so that one
    /// id names the request everywhere.
    ///
    /// # Errors
    /// When the address cannot be bound, or the server fails.
    pub async fn http_behind_gateway(
        &self,
        args: &HttpArgs,
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> anyhow::Result<()> {
        http::serve(self, args, RequestIds::FromCaller, configure).await
    }

    /// The TLS of the process's listeners, for a server that is not actix-web's.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    pub(crate) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Beats as long as the runtime gets to run tasks.
    pub(crate) fn beat_of_the_runtime(&self) -> impl Future<Output = ()> + use<> {
        let heartbeat = self.heartbeat("runtime", RUNTIME_MAX_AGE);
        async move {
            loop {
                heartbeat.beat();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Health {
    /// Whether the process has ever been ready: before that nobody sends it anything, and it has nothing to finish.
    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    /// Each condition and whether it is met.
    pub(crate) fn ready(&self) -> Vec<(&'static str, bool)> {
        lock(&self.ready)
            .iter()
            .map(|(check, met)| (*check, met.load(Ordering::Relaxed)))
            .collect()
    }

    /// Each loop and whether it has turned recently enough.
    pub(crate) fn alive(&self) -> Vec<(&'static str, bool)> {
        let now = self.started.elapsed();
        lock(&self.beats)
            .iter()
            .map(|beat| {
                let last = Duration::from_millis(beat.last_ms.load(Ordering::Relaxed));
                (beat.name, now.saturating_sub(last) <= beat.max_age)
            })
            .collect()
    }
}

/// One condition of the process's readiness.
#[derive(Clone)]
pub struct Readiness {
    check: &'static str,
    met: Arc<AtomicBool>,
    health: Arc<Health>,
}

impl Readiness {
    /// Says whether the condition is met now; a change is logged.
    pub fn set(&self, met: bool) {
        if self.met.swap(met, Ordering::Relaxed) != met {
            tracing::info!(check = self.check, met, "readiness changed");
        }
        if met && !self.health.was_ready() && self.health.ready().iter().all(|(_, met)| *met) {
            self.health.was_ready.store(true, Ordering::Relaxed);
        }
    }
}

/// One loop whose turning shows that the process is alive.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    started: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// The loop turned.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }
}

/// A panic while pushing to a list leaves the list as it was.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process::new(crate::shutdown::phases().1, Duration::ZERO, Listeners::plain())
    }

    #[test]
    fn a_condition_is_unmet_until_it_is_set() {
        let process = process();
        let database = process.readiness("database");
        let http = process.readiness("http");
        assert_eq!(process.health.ready(), [("database", false), ("http", false)]);
        database.set(true);
        assert_eq!(process.health.ready(), [("database", true), ("http", false)]);
        http.set(true);
        database.set(false);
        assert_eq!(process.health.ready(), [("database", false), ("http", true)]);
    }

    #[test]
    fn a_loop_is_alive_until_its_last_beat_is_too_old() {
        let process = process();
        let _patient = process.heartbeat("patient", Duration::from_secs(3600));
        let _strict = process.heartbeat("strict", Duration::ZERO);
        while process.health.started.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        assert_eq!(process.health.alive(), [("patient", true), ("strict", false)]);
    }
}
