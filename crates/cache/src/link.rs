//! The one connection to Redis, replaced in the background when it breaks.
//!
//! It is multiplexed: all commands of the process share it, without a checkout. While it is down, commands fail at
//! once, so that a read pays nothing for a Redis that isn't there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, cmd,
};
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use crate::args::{CacheArgs, Redis};

/// To connect and authenticate.
const CONNECT_LIMIT: Duration = Duration::from_millis(250);
/// Commands that wait to be written; a caller beyond that waits within its own limit.
const QUEUE: usize = 256;
/// A connection on which this many commands in a row had no reply in time is given up: it may be dead without a
/// packet, and each timeout is time that a reader waits for nothing.
const TIMEOUTS_IN_A_ROW: u32 = 5;
/// The pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

#[derive(Debug)]
pub(crate) struct Link {
    state: watch::Receiver<State>,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("there is no connection")]
    Down,
    #[error("the script is not loaded")]
    NoScript,
    #[error(transparent)]
    Failed(RedisError),
}

#[derive(Clone, Debug)]
enum State {
    Starting,
    Up(Arc<Live>),
    Down,
}

#[derive(Debug)]
struct Live {
    connection: MultiplexedConnection,
    timeouts: AtomicU32,
    broken: Notify,
}

impl Link {
    pub(crate) async fn start(args: &CacheArgs) -> Link {
        let (sender, mut state) = watch::channel(State::Starting);
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(args.redis_command_timeout))
            .set_pipeline_buffer_size(QUEUE);
        tokio::spawn(keep_up(args.redis.clone(), limits, sender));
        // The sender lives as long as a receiver does.
        let _ = state.wait_for(|state| !matches!(state, State::Starting)).await;
        Link { state }
    }

    /// Sends one command, and waits for its reply until the command timeout.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        name: &'static str,
        command: &Cmd,
    ) -> Result<T, Unreachable> {
        let live = match &*self.state.borrow() {
            State::Up(live) => Arc::clone(live),
            State::Starting | State::Down => return Err(Unreachable::Down),
        };
        let span = tracing::info_span!(
            "redis",
            otel.name = name,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            peer.service = "redis",
            db.system.name = "redis",
            db.operation.name = name,
        );
        let started = std::time::Instant::now();
        let mut connection = live.connection.clone();
        let outcome = command
            .query_async(&mut connection)
            .instrument(span.clone())
            .await;
        metrics::histogram!(
            "db_client_operation_duration_seconds",
            "db_system_name" => "redis",
            "db_operation_name" => name,
        )
        .record(started.elapsed().as_secs_f64());
        outcome.inspect(|_| live.answered()).map_err(|error| {
            if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
                return Unreachable::NoScript;
            }
            span.record("otel.status_code", "ERROR");
            live.failed(&error);
            Unreachable::Failed(error)
        })
    }
}

impl Live {
    fn answered(&self) {
        // Written only when there is something to forget: the cache line is shared by all workers.
        if self.timeouts.load(Ordering::Relaxed) > 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self, error: &RedisError) {
        let broken = if error.is_timeout() {
            self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_IN_A_ROW
        } else {
            error.is_unrecoverable_error()
        };
        if broken {
            self.broken.notify_one();
        }
    }
}

/// Connects, waits until the connection is broken, and starts again, until the last [`Link`] is dropped.
async fn keep_up(redis: Redis, limits: AsyncConnectionConfig, state: watch::Sender<State>) {
    let mut pause = BACKOFF.0;
    let mut complained = false;
    loop {
        match connect(&redis, &limits).await {
            Ok(connection) => {
                tracing::info!("connected to redis");
                (pause, complained) = (BACKOFF.0, false);
                let live = Arc::new(Live {
                    connection,
                    timeouts: AtomicU32::new(0),
                    broken: Notify::new(),
                });
                state.send_replace(State::Up(Arc::clone(&live)));
                tokio::select! {
                    () = live.broken.notified() => {}
                    () = state.closed() => return,
                }
                tracing::warn!(
                    "the connection to redis is broken; reads go to their source until there is another"
                );
            }
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot connect to redis; reads go to their source, trying again"
                );
            }
            Err(error) => tracing::debug!(error = format!("{error:#}"), "still cannot connect to redis"),
        }
        state.send_replace(State::Down);
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(BACKOFF.1),
            () = state.closed() => return,
        }
    }
}

async fn connect(redis: &Redis, limits: &AsyncConnectionConfig) -> anyhow::Result<MultiplexedConnection> {
    // Made anew each time, so that a rotated password or certificate is used from the next connection on.
    let mut connection = redis
        .client()?
        .get_multiplexed_async_connection_with_config(limits)
        .await?;
    // The kernel accepts connections for a process that hangs; only an answer, even a refusal, shows that it lives.
    match cmd("PING").query_async::<String>(&mut connection).await {
        Err(error) if !matches!(error.kind(), ErrorKind::Server(_)) => Err(error.into()),
        _ => Ok(connection),
    }
}
