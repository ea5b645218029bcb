//! The loop: one owner among the replicas reads the outbox and hands it to its sink.

use std::time::Duration;

use anyhow::Context as _;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::backoff::{Backoff, Stop};
use crate::history::{self, Halted};
use crate::lease::{self, Lease, Replaced};
use crate::meter::Meter;
use crate::page::Page;
use crate::position::{Position, STATEMENT_LIMIT, bounded};
use crate::sink::{Sink, SinkError, Watermark};
use crate::wake::Wake;
use crate::window::{self, Backlog, Cursor};

/// The poll interval: the shorter after work, the longer after a while without. What another replica commits waits for it.
const POLL_BUSY: Duration = Duration::from_millis(8);
const POLL_IDLE: Duration = Duration::from_millis(200);
/// Windows are opened no faster than this: under a steady load they then hold several transactions each.
const PACE: Duration = Duration::from_millis(8);
/// How often a sink is told how far it is, at most: whoever acts on it counts in seconds.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often a replica that is not the owner looks whether it can be.
const STANDBY_EVERY: Duration = Duration::from_millis(250);

/// What a tail needs besides its sink.
#[derive(Debug, Clone)]
pub struct TailArgs {
    /// The database that holds the outbox, as the role that may read it; the primary.
    pub database: database::Access,
    /// The process: names its connections and the owner of the lease.
    pub source: &'static str,
    /// How far back the sink has to be fed again when its store forgot; for a cache, its longest time to live.
    pub memory: Duration,
    /// How long rows are kept ([`Retention`](crate::Retention)).
    pub rows_are_kept: Duration,
}

/// Hands the outbox to a sink while it owns the sink's lease. See [`Tail::run`].
pub struct Tail<S> {
    args: TailArgs,
    sink: S,
    woken: watch::Receiver<()>,
    meter: Meter,
    owner: String,
    /// The highest number of saves that was ever seen; survives the database's session.
    remembered: i64,
}

/// Why a step could not be made.
enum Failure {
    Sink(SinkError),
    /// The session is over, and with it everything that is in memory.
    Session(anyhow::Error),
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Failure {
        Failure::Sink(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Session(error)
    }
}

enum Step {
    Delivered,
    Idle,
}

impl<S: Sink> Tail<S> {
    pub fn new(args: TailArgs, sink: S, wake: &Wake) -> Tail<S> {
        let host = std::env::var("HOSTNAME").unwrap_or_default();
        let owner = format!("{} {host:.100} {}", args.source, uuid::Uuid::now_v7());
        Tail {
            args,
            sink,
            woken: wake.subscribe(),
            meter: Meter::new(S::NAME),
            owner,
            remembered: 0,
        }
    }

    /// Runs until `stop` completes, then makes a last pass and hands the lease over, within four seconds. The
    /// database or the sink being down is waited out, with a log line at each change; nothing is skipped.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let (told, mut stop) = Stop::after(stop);
        tokio::select! {
            () = self.work(&mut stop) => {}
            () = told => tracing::warn!(
                sink = S::NAME,
                "the tail stops with facts left in the outbox; the next owner delivers them"
            ),
        }
        self.meter.owns(false);
    }

    async fn work(&mut self, stop: &mut Stop) {
        let mut backoff = Backoff::new();
        let mut halted = false;
        while let Err(error) = self.session(stop, &mut backoff).await {
            self.meter.owns(false);
            let halts = error.downcast_ref::<Halted>();
            if let Some(Halted { saves, .. }) = halts
                && !halted
            {
                tracing::error!(sink = S::NAME, "the tail has stopped: {error:#}");
                if let Some(saves) = *saves
                    && let Err(error) = halt_all(&self.args, S::NAME, saves).await
                {
                    tracing::error!(
                        sink = S::NAME,
                        error = format!("{error:#}"),
                        "the other tails could not be stopped"
                    );
                }
            } else if error.is::<Replaced>() {
                tracing::warn!(sink = S::NAME, "the tail is no longer this replica's");
            } else if halts.is_none() {
                tracing::warn!(
                    sink = S::NAME,
                    error = format!("{error:#}"),
                    "the tail lost its session"
                );
            }
            halted = halts.is_some();
            self.meter.halted(halted);
            // Nobody owns the tail now, and what it has not delivered grows.
            if halted && let Err(error) = self.measure_halted().await {
                tracing::warn!(
                    sink = S::NAME,
                    error = format!("{error:#}"),
                    "cannot measure what the stopped tail has not delivered"
                );
            }
            if stop.is_told() {
                return;
            }
            backoff.wait(stop).await;
        }
    }

    async fn measure_halted(&mut self) -> anyhow::Result<()> {
        let mut conn = connect(&self.args, S::NAME).await?;
        let (cursor, now) = bounded(lease::standing(&mut conn, S::NAME)).await?;
        match bounded(window::backlog(&mut conn, &cursor)).await? {
            Some(Backlog { rows, oldest }) => {
                let age = Duration::try_from(now - oldest).unwrap_or_default();
                self.meter.backlog(rows, age);
            }
            None => self.meter.backlog(0, Duration::ZERO),
        }
        Ok(())
    }

    /// One database session, from becoming the owner to losing it; `Ok` when it is to stop. Whatever was in memory of
    /// an earlier session is gone by construction: after a server crash, xids and ids that were never flushed are
    /// handed out again.
    async fn session(&mut self, stop: &mut Stop, backoff: &mut Backoff) -> anyhow::Result<()> {
        let mut conn = connect(&self.args, S::NAME).await?;
        let Some((lease, cursor)) = self.until_owner(&mut conn, stop).await? else {
            return Ok(());
        };
        tracing::info!(sink = S::NAME, epoch = lease.epoch, "this replica owns the tail");
        self.meter.halted(false);
        self.meter.owns(true);
        backoff.reset();
        let renewals = Lease::keep(S::NAME, lease.epoch, connect(&self.args, S::NAME).await?);
        let mut at = Position::new(conn, lease, cursor);
        let ended = tokio::select! {
            ended = self.follow(&mut at, stop.clone()) => ended,
            lost = renewals => Err(lost),
            () = stop.last_pass_is_over() => Ok(()),
        };
        if ended.is_ok() {
            let handing_over = async {
                at.save(self.args.rows_are_kept).await?;
                self.remembered = at.lease.saves;
                at.lease.release(&mut at.conn).await
            };
            timeout(STATEMENT_LIMIT, handing_over)
                .await
                .context("could not hand the lease over in time")?
        } else {
            self.remembered = self.remembered.max(at.lease.saves);
            ended
        }
    }

    /// Waits for the lease; `None` when it is to stop meanwhile.
    async fn until_owner(
        &mut self,
        conn: &mut AsyncPgConnection,
        stop: &mut Stop,
    ) -> anyhow::Result<Option<(Lease, Cursor)>> {
        loop {
            let seen = bounded(lease::look(conn, S::NAME, &self.owner)).await?;
            history::check(&seen, self.remembered)?;
            self.remembered = seen.saves;
            if seen.free
                && let Some(acquired) = bounded(lease::acquire(conn, S::NAME, &self.owner)).await?
            {
                return Ok(Some(acquired));
            }
            if stop.is_told() {
                return Ok(None);
            }
            stop.pause(STANDBY_EVERY).await;
        }
    }

    async fn follow(&mut self, at: &mut Position, mut stop: Stop) -> anyhow::Result<()> {
        let mut backoff = Backoff::new();
        let mut poll = POLL_BUSY;
        let mut ready = None;
        // Of a commit since the last look: then nobody has to ask whether there is one.
        let mut told = false;
        loop {
            match self.step(at, &mut ready, std::mem::take(&mut told)).await {
                Ok(Step::Delivered) => {
                    backoff.reset();
                    poll = POLL_BUSY;
                    if ready.is_none() {
                        tokio::time::sleep_until(at.looked + PACE).await;
                        told = self.woken.has_changed().unwrap_or(false);
                        self.woken.mark_unchanged();
                    }
                }
                Ok(Step::Idle) => {
                    self.meter.works();
                    if stop.is_told() {
                        return Ok(());
                    }
                    tokio::select! {
                        changed = self.woken.changed() => match changed {
                            Ok(()) => told = true,
                            Err(_) => stop.pause(poll).await,
                        },
                        () = stop.pause(poll) => poll = (poll * 2).min(POLL_IDLE),
                    }
                }
                Err(Failure::Session(error)) => return Err(error),
                Err(Failure::Sink(error)) => {
                    self.meter.failed(&error);
                    at.measure(&self.meter, ready.as_ref()).await?;
                    if stop.is_told() {
                        tracing::warn!(
                            sink = S::NAME,
                            "the tail stops while its sink fails; the next owner goes on"
                        );
                        return Ok(());
                    }
                    backoff.wait(&mut stop).await;
                }
            }
        }
    }

    /// Delivers the page that is ready, or the next one. One that could not be delivered stays ready.
    async fn step(
        &mut self,
        at: &mut Position,
        ready: &mut Option<Page>,
        told: bool,
    ) -> Result<Step, Failure> {
        if ready.is_none() {
            *ready = at.look(told).await?;
        }
        if self.rewound(at).await? {
            *ready = at.look(false).await?;
        }
        let Some(page) = ready.take() else {
            at.save_if_due(self.args.rows_are_kept).await?;
            self.meter.backlog(0, Duration::ZERO);
            self.caught_up(at).await?;
            return Ok(Step::Idle);
        };
        match self.deliver(at, &page).await {
            Ok(next) => {
                *ready = next;
                Ok(Step::Delivered)
            }
            Err(failure) => {
                *ready = Some(page);
                Err(failure)
            }
        }
    }

    /// Hands `page` to the sink while the next one is being fetched, which it returns.
    async fn deliver(&mut self, at: &mut Position, page: &Page) -> Result<Option<Page>, Failure> {
        at.measure(&self.meter, Some(page)).await?;
        let after = at.cursor.after(page);
        let fetching = async {
            if page.ends_window() {
                return Ok(None);
            }
            at.page_at(&after).await.map(Some)
        };
        let delivering = async {
            if page.is_empty() {
                return Ok(());
            }
            self.sink.deliver(page).await
        };
        // Fetching is polled first, so that the server works while records are handed to the sink.
        let (next, delivered) = tokio::join!(fetching, delivering);
        delivered?;
        at.moved(after, page);
        self.meter.works();
        self.meter.delivered(page, at.clock.now());
        at.save_if_due(self.args.rows_are_kept).await?;
        if page.ends_window() {
            at.reached = at.opened.take();
            self.caught_up(at).await?;
        }
        Ok(next?)
    }

    /// Whether it rewound, because the sink's store is another one than when the cursor was saved.
    async fn rewound(&mut self, at: &mut Position) -> Result<bool, Failure> {
        let identity = self.sink.identity().await?;
        if let Some(told) = identity.saves.filter(|told| *told > at.lease.saves) {
            // An owner that was suspended and replaced sees its successor's number before anything else tells it so. The successor
            // saved before it told, so that the database, asked now, has them all: unless it went back in time.
            let saved = bounded(history::saves(&mut at.conn, S::NAME)).await?;
            let error = if saved < told {
                Halted::by_saves(saved, "the sink's store was told of", told).into()
            } else {
                Replaced.into()
            };
            return Err(Failure::Session(error));
        }
        let Some(store) = identity
            .store
            .filter(|store| Some(store) != at.lease.store.as_ref())
        else {
            return Ok(false);
        };
        tracing::warn!(
            sink = S::NAME,
            store,
            "the sink's store may have forgotten what it was told; telling it again"
        );
        self.sink.lost().await?;
        at.rewind(store, self.args.memory).await?;
        self.meter.rewound();
        Ok(true)
    }

    async fn caught_up(&mut self, at: &mut Position) -> Result<(), Failure> {
        let told = at.told.is_some_and(|told| told.elapsed() < TELL_EVERY);
        if !told && let Some(reached) = at.reached {
            let to = Watermark {
                at: reached.at,
                lag: reached.read.elapsed(),
                saves: at.lease.saves,
            };
            self.sink.caught_up(&to).await?;
            at.told = Some(Instant::now());
        }
        Ok(())
    }
}

async fn halt_all(args: &TailArgs, sink: &str, saves: i64) -> anyhow::Result<()> {
    let mut conn = connect(args, sink).await?;
    bounded(history::halt(&mut conn, sink, saves)).await
}

async fn connect(args: &TailArgs, sink: &str) -> anyhow::Result<AsyncPgConnection> {
    let mut conn = database::dedicated(&args.database, &format!("{} {sink}", args.source)).await?;
    // The window's statements are prepared once, but planned with each cursor: a plan for any cursor at all knows nothing of how few
    // rows lie behind this one, and may sort a table.
    bounded(conn.batch_execute("SET plan_cache_mode = force_custom_plan")).await?;
    Ok(conn)
}
