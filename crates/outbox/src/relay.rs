//! The relay: one owner among the replicas reads the outbox and publishes it.

use std::sync::Arc;
use std::time::Duration;

use database::Access;
use diesel_async::AsyncPgConnection;
use kafka::KafkaArgs;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::cursor::{self, Cursor};
use crate::kafka_sink::{DeliveryError, KafkaSink};
use crate::window::{self, Look};

/// Rows a page. At the largest payload that is 256 MiB; at the usual 400 B, 400 KB.
const PAGE_ROWS: i64 = 1_000;
/// The cursor is saved at most this often while rows flow; a crash publishes again what came
/// after. Saving each page would turn its row into a bloated queue of dead versions.
const SAVE_EVERY: Duration = Duration::from_millis(250);
const SAVE_PAGES: u32 = 64;
/// The poll interval: the shorter after work, the longer after a while without.
const POLL_BUSY: Duration = Duration::from_millis(20);
const POLL_IDLE: Duration = Duration::from_millis(200);
/// How often a replica that does not own the relay looks whether it can.
const ACQUIRE_EVERY: Duration = Duration::from_millis(500);
/// Bounds of the waiting time after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long the last pass at shutdown may take.
const LAST_PASS: Duration = Duration::from_secs(5);

/// What a relay needs.
#[derive(Debug, Clone)]
pub struct RelayArgs {
    /// The database that holds the outbox, as the role that may read it; the primary.
    pub database: Access,
    pub kafka: KafkaArgs,
    /// `ce_source`, and the name of the connections to PostgreSQL and Kafka.
    pub source: &'static str,
}

/// Wakes the relay of this process after a commit, so that a fact needn't wait for a poll.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn new() -> Wake {
        Wake::default()
    }

    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Publishes the outbox while it owns it. See [`Relay::run`].
#[derive(Debug)]
pub struct Relay {
    args: RelayArgs,
    wake: Wake,
}

/// Why a session of the relay ended.
enum Ended {
    /// It was told to stop and everything committed before that is published, or never was its
    /// to publish.
    Stopped,
    /// Another replica's epoch has begun.
    Replaced,
}

impl Relay {
    pub fn new(args: RelayArgs, wake: Wake) -> Relay {
        Relay { args, wake }
    }

    /// Runs until `stop` completes, then makes a last pass of at most five seconds. PostgreSQL
    /// or Kafka being down is waited out, with a log line at each change; nothing is skipped.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let (stopping, stopped) = watch::channel(false);
        let bounded_stop = async {
            stop.await;
            stopping.send_replace(true);
            tokio::time::sleep(LAST_PASS).await;
            tracing::warn!("the relay stops with facts left in the outbox; the next owner publishes them");
        };
        tokio::select! {
            () = self.work(stopped) => {}
            () = bounded_stop => {}
        }
        metrics::gauge!("outbox_relay_owner").set(0.0);
    }

    async fn work(&self, mut stopped: watch::Receiver<bool>) {
        let mut backoff = Backoff::new();
        loop {
            match self.session(&mut stopped, &mut backoff).await {
                Ok(Ended::Stopped) => return,
                Ok(Ended::Replaced) => tracing::warn!("another replica took the relay over"),
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "the relay lost its database session"
                ),
            }
            metrics::gauge!("outbox_relay_owner").set(0.0);
            if *stopped.borrow() {
                return;
            }
            backoff.wait(&mut stopped).await;
        }
    }

    /// One database session: from becoming the owner to losing it. Whatever was in memory of an
    /// earlier session is gone by construction: after a server crash, xids and ids that were
    /// never flushed are handed out again.
    async fn session(
        &self,
        stopped: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
    ) -> anyhow::Result<Ended> {
        let mut conn = database::dedicated(&self.args.database, self.args.source).await?;
        let cursor = loop {
            match cursor::try_acquire(&mut conn).await? {
                Some(cursor) => break cursor,
                None if *stopped.borrow() => return Ok(Ended::Stopped),
                None => pause(ACQUIRE_EVERY, stopped).await,
            }
        };
        tracing::info!(epoch = cursor.epoch, "this replica owns the relay");
        metrics::gauge!("outbox_relay_owner").set(1.0);
        backoff.reset();
        let mut tail = Tail {
            conn,
            saved: cursor.clone(),
            cursor,
            saved_at: Instant::now(),
            unsaved_pages: 0,
        };
        let mut sink = None;
        let ended = tail.follow(self, &mut sink, stopped).await;
        if let Some(sink) = sink {
            KafkaSink::close(sink).await;
        }
        ended
    }
}

/// The owner's reading position and how much of it is saved.
struct Tail {
    conn: AsyncPgConnection,
    cursor: Cursor,
    saved: Cursor,
    saved_at: Instant,
    unsaved_pages: u32,
}

impl Tail {
    async fn follow(
        &mut self,
        relay: &Relay,
        sink: &mut Option<KafkaSink>,
        stopped: &mut watch::Receiver<bool>,
    ) -> anyhow::Result<Ended> {
        let mut backoff = Backoff::new();
        let mut poll = POLL_BUSY;
        loop {
            let rows = match window::look(&mut self.conn, &mut self.cursor, PAGE_ROWS).await? {
                Look::Page(rows) => rows,
                Look::Idle => {
                    if !self.save().await? {
                        return Ok(Ended::Replaced);
                    }
                    if *stopped.borrow() {
                        return Ok(Ended::Stopped);
                    }
                    set_backlog(0, 0.0);
                    tokio::select! {
                        () = relay.wake.0.notified() => {}
                        () = pause(poll, stopped) => poll = (poll * 2).min(POLL_IDLE),
                    }
                    continue;
                }
            };
            poll = POLL_BUSY;
            self.observe_backlog(&rows).await?;
            match deliver(relay, sink, &rows).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    metrics::counter!("outbox_publish_errors_total").increment(1);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "publishing failed; starting again with a new producer at the same fact"
                    );
                    if let Some(sink) = sink.take() {
                        sink.close().await;
                    }
                    backoff.wait(stopped).await;
                    continue;
                }
            }
            window::advance(&mut self.cursor, &rows, PAGE_ROWS);
            self.unsaved_pages += 1;
            let due = self.unsaved_pages >= SAVE_PAGES || self.saved_at.elapsed() >= SAVE_EVERY;
            if due && !self.save().await? {
                return Ok(Ended::Replaced);
            }
        }
    }

    /// Saves the cursor if it moved; `false` when it is somebody else's by now.
    async fn save(&mut self) -> anyhow::Result<bool> {
        if self.cursor == self.saved {
            return Ok(true);
        }
        let saved = cursor::save(&mut self.conn, &self.cursor).await?;
        self.saved = self.cursor.clone();
        self.saved_at = Instant::now();
        self.unsaved_pages = 0;
        Ok(saved)
    }

    /// The backlog as the id sequence tells it: an estimate, since rolled back ids count too.
    async fn observe_backlog(&mut self, rows: &[window::Row]) -> anyhow::Result<()> {
        let Some(oldest) = rows.first() else {
            return Ok(());
        };
        let newest = window::sequence_value(&mut self.conn).await?;
        let age = OffsetDateTime::now_utc() - oldest.occurred_at;
        set_backlog(newest - oldest.id + 1, age.as_seconds_f64().max(0.0));
        Ok(())
    }
}

/// Delivers a page through the sink, connecting it first if there is none.
async fn deliver(relay: &Relay, sink: &mut Option<KafkaSink>, rows: &[window::Row]) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let sink = match sink {
        Some(sink) => sink,
        None => sink.insert(KafkaSink::connect(&relay.args.kafka, relay.args.source)?),
    };
    sink.deliver(rows)
        .await
        .map_err(|error: DeliveryError| error.into())
}

fn set_backlog(rows: i64, oldest_seconds: f64) {
    metrics::gauge!("outbox_pending").set(rows as f64);
    metrics::gauge!("outbox_oldest_age_seconds").set(oldest_seconds);
}

/// Waits for `time`, or until the relay is told to stop.
async fn pause(time: Duration, stopped: &mut watch::Receiver<bool>) {
    if *stopped.borrow() {
        // The last pass: look again soon, without spinning.
        tokio::time::sleep(time.min(POLL_BUSY)).await;
        return;
    }
    let _ = tokio::time::timeout(time, stopped.changed()).await;
}

/// Exponential waiting times with jitter, so that replicas don't return in step.
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Backoff {
        Backoff { next: BACKOFF.0 }
    }

    fn reset(&mut self) {
        self.next = BACKOFF.0;
    }

    async fn wait(&mut self, stopped: &mut watch::Receiver<bool>) {
        let jittered = self.next.mul_f64(rand::random_range(0.5..1.0));
        self.next = (self.next * 2).min(BACKOFF.1);
        pause(jittered, stopped).await;
    }
}
