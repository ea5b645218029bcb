//! The shared connection to Redis, replaced in the background when it breaks.
//!
//! It is multiplexed: all commands of the process share it, without a checkout. A thread that has a runtime of its own, as a
//! worker of an HTTP server, has one to itself beside it, whose replies wake no other thread. While it is down, commands fail at
//! once, so that a read pays nothing for a Redis that isn't there.

mod dialer;
mod near;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool_redis::redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use metrics::Histogram;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span};

pub(crate) use self::dialer::{Connection, Dialer};
use self::near::{Line, Near};
use crate::breaker::Breaker;
use crate::clock::Clock;
use crate::meters::operation;

/// Commands on their way at once. More would wait in the connection anyway; here they wait where it can be seen that
/// it is not Redis that is slow.
const ON_THEIR_WAY: usize = 512;
/// A connection on which this many commands in a row had no reply in time is given up: it may be dead without a
/// packet, and each timeout is time that a reader waits for nothing.
const TIMEOUTS_IN_A_ROW: u32 = 5;
/// The pause between attempts to connect, ± a half, so that processes do not come back in step.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The process's way to Redis.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    breaker: Breaker,
    on_their_way: Semaphore,
    command_limit: Duration,
    pub(crate) clock: Arc<Clock>,
    times: Times,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("there is no connection")]
    Down,
    #[error("the circuit breaker is open")]
    Open,
    #[error("too many commands are on their way")]
    Crowded,
    #[error("there was no answer in time")]
    TooSlow,
    #[error("the script is not loaded")]
    NoScript,
    #[error("redis refused: {0}")]
    Refused(RedisError),
    #[error(transparent)]
    Failed(RedisError),
}

/// A command, as metrics and traces name it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Get,
    Mget,
    Set,
    Evalsha,
    Eval,
}

#[derive(Clone)]
enum State {
    Starting,
    Up(Arc<Live>),
    Down,
}

struct Live {
    near: Near,
    broken: Notify,
}

impl Link {
    /// Returns when the first attempt to connect succeeded or failed.
    pub(crate) async fn start(dialer: Dialer) -> Link {
        let (sender, mut state) = watch::channel(State::Starting);
        let command_limit = dialer.command_limit();
        let clock = Arc::new(dialer.clock());
        tokio::spawn(keep_up(dialer, Arc::clone(&clock), sender));
        // The sender lives as long as a receiver does.
        let _ = state.wait_for(|state| !matches!(state, State::Starting)).await;
        Link {
            state,
            breaker: Breaker::new(Instant::now()),
            on_their_way: Semaphore::new(ON_THEIR_WAY),
            command_limit,
            clock,
            times: Times::new(),
        }
    }

    pub(crate) fn breaker_phase(&self) -> u8 {
        self.breaker.phase()
    }

    /// Sends one command, and waits for its reply until the command limit.
    pub(crate) async fn run<T: FromRedisValue>(&self, op: Op, command: &Cmd) -> Result<T, Unreachable> {
        let live = match &*self.state.borrow() {
            State::Up(live) => Arc::clone(live),
            State::Starting | State::Down => return Err(Unreachable::Down),
        };
        // Before the breaker: what waits here must not be taken for the one probe.
        let Ok(Ok(_permit)) = timeout(self.command_limit, self.on_their_way.acquire()).await else {
            return Err(Unreachable::Crowded);
        };
        if !self.breaker.admits(Instant::now()) {
            return Err(Unreachable::Open);
        }
        let span = span(op);
        let started = Instant::now();
        let line = live.near.line();
        let mut connection = line.connection.clone();
        let answer = timeout(self.command_limit, command.query_async(&mut connection))
            .instrument(span.clone())
            .await;
        let took = started.elapsed();
        self.times.of(op).record(took.as_secs_f64());
        let outcome = match answer {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(classify(error)),
            Err(_) => Err(Unreachable::TooSlow),
        };
        self.judge(&live, line, &outcome, took);
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        outcome
    }

    /// Tells the breaker and the connection's keeper what a command's outcome says of Redis.
    fn judge<T>(&self, live: &Live, line: &Line, outcome: &Result<T, Unreachable>, took: Duration) {
        match outcome {
            // It lives, and is no master any more: another dial may find the one that is.
            Err(Unreachable::Refused(error))
                if is_demoted(error) && matches!(line.connection, Connection::Single(_)) =>
            {
                self.breaker.succeeded(Instant::now());
                live.broken.notify_one();
            }
            Ok(_) | Err(Unreachable::NoScript | Unreachable::Refused(_)) => {
                // Written only when there is something to forget: the cache line is shared by all workers.
                if line.timeouts.load(Ordering::Relaxed) > 0 {
                    line.timeouts.store(0, Ordering::Relaxed);
                }
                self.breaker.succeeded(Instant::now());
            }
            // This process was so busy that even its own timer was late: that says nothing of Redis.
            Err(Unreachable::TooSlow) if took > self.command_limit * 2 => {}
            Err(Unreachable::TooSlow) => {
                self.breaker.failed(Instant::now(), rand::random());
                if line.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_IN_A_ROW {
                    live.broken.notify_one();
                }
            }
            Err(Unreachable::Failed(error)) => {
                self.breaker.failed(Instant::now(), rand::random());
                // A cluster's client replaces the connections to its nodes itself, one by one.
                if error.is_unrecoverable_error() && matches!(line.connection, Connection::Single(_)) {
                    live.broken.notify_one();
                }
            }
            Err(Unreachable::Down | Unreachable::Open | Unreachable::Crowded) => {}
        }
    }
}

/// None in a trace that nobody will see: it is a tenth of what a hit costs.
fn span(op: Op) -> Span {
    let unseen = Context::map_current(|context| {
        let parent = context.span();
        let parent = parent.span_context();
        parent.is_valid() && !parent.is_sampled()
    });
    if unseen {
        return Span::none();
    }
    tracing::info_span!(
        "redis",
        otel.name = op.name(),
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        peer.service = "redis",
        db.system.name = "redis",
        db.operation.name = op.name(),
    )
}

/// An answer, even a refusal, shows that Redis lives: out of memory it still answers reads. Refusals by which it says
/// that it cannot serve at all count as none.
fn classify(error: RedisError) -> Unreachable {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Unreachable::NoScript,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown,
        ) => Unreachable::Failed(error),
        ErrorKind::Server(_) | ErrorKind::Extension => Unreachable::Refused(error),
        _ => Unreachable::Failed(error),
    }
}

/// Whether this Redis became the replica of another one. Before 7.0, what a script ran into is a part of the script's error.
pub(crate) fn is_demoted(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.detail().is_some_and(|detail| detail.contains("-READONLY "))
}

/// Connects, waits until the connection is broken, and starts again, until the last [`Link`] is dropped.
async fn keep_up(dialer: Dialer, clock: Arc<Clock>, state: watch::Sender<State>) {
    let mut pause = BACKOFF.0;
    let mut complained = false;
    loop {
        match dialer.dial(&clock).await {
            Ok(connection) => {
                tracing::info!("connected to redis");
                let since = Instant::now();
                let live = Arc::new(Live {
                    near: Near::new(connection, dialer.clone(), Arc::clone(&clock)),
                    broken: Notify::new(),
                });
                state.send_replace(State::Up(Arc::clone(&live)));
                tokio::select! {
                    () = live.broken.notified() => {}
                    () = state.closed() => return,
                }
                // One that breaks at once, as that of a replica which refuses to be written to, is not dialled for at full speed.
                if since.elapsed() > BACKOFF.1 {
                    (pause, complained) = (BACKOFF.0, false);
                }
                tracing::warn!(
                    "the connection to redis is broken; reads go to their source until there is another"
                );
            }
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(%error, "cannot connect to redis; reads go to their source, trying again");
            }
            Err(error) => tracing::debug!(%error, "still cannot connect to redis"),
        }
        state.send_replace(State::Down);
        let spread: f64 = rand::random();
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + spread)) => pause = (pause * 2).min(BACKOFF.1),
            () = state.closed() => return,
        }
    }
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Op::Get => "GET",
            Op::Mget => "MGET",
            Op::Set => "SET",
            Op::Evalsha => "EVALSHA",
            Op::Eval => "EVAL",
        }
    }
}

/// Looked up once: a lookup by name costs more than the record.
struct Times([Histogram; 5]);

impl Times {
    fn new() -> Times {
        Times([Op::Get, Op::Mget, Op::Set, Op::Evalsha, Op::Eval].map(|op| operation(op.name())))
    }

    fn of(&self, op: Op) -> &Histogram {
        &self.0[op as usize]
    }
}
