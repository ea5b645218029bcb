//! Sends what is due: up to four mails at once, shared with the other replicas row by row.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use database::{Pool, measured, observed};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;
use lettre::message::Mailbox;
use metrics::{counter, gauge};
use settings::Secret;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::delivery::{self, Claim, Final};
use crate::smtp::{Answer, MailArgs, Refused, SmtpUrl};
use crate::templates;

/// Mails in flight.
const PARALLEL: usize = 4;
/// Between two looks at the table when nothing wakes the sender.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Longer than everything before the message may take. Short, because what a dead sender held waits for its end.
const LEASE_SECONDS: f64 = 30.0;
const RENEW_INTERVAL: Duration = Duration::from_secs(8);

const FIRST_PAUSE_SECONDS: f64 = 1.0;
const LONGEST_PAUSE_SECONDS: f64 = 900.0;
/// With those pauses: for about five hours.
const MAX_ATTEMPTS: i32 = 30;

/// How long a mail waits for its customer. Minutes are normal after an outage; a day means that the event is missing.
const MAX_WAIT_SECONDS: f64 = 24.0 * 3600.0;

/// The `error.type` of what the table refused or did not answer.
const UNREACHABLE: &str = "database";

/// For the mails in flight when the process stops. One that takes longer becomes ambiguous.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// Takes due deliveries from the table and transmits them.
#[derive(Clone)]
pub struct Sender {
    pool: Pool,
    server: Secret<SmtpUrl>,
    from: Mailbox,
    wake: Arc<Notify>,
}

/// How an attempt ended, as the table will say.
enum Attempt {
    Finished(Final, Option<String>),
    Retry(String),
    /// The claim was lost before anything was sent: another sender has the delivery, or will.
    Lost,
}

impl Sender {
    /// `wake` makes it look at the table at once.
    pub fn new(pool: Pool, args: &MailArgs, wake: Arc<Notify>) -> Sender {
        Sender {
            pool,
            server: args.smtp_url.clone(),
            from: args.mail_from.clone(),
            wake,
        }
    }

    /// Sends until `stop` completes; then finishes the mails in flight.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flying = JoinSet::new();
        let (mut tending, mut claiming) = (None, None);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = poll.tick() => note(&mut tending, measured("tend", self.tend()).await),
                () = self.wake.notified() => {}
                Some(_) = flying.join_next() => {}
            }
            let room = PARALLEL - flying.len();
            if room > 0 {
                let claimed = self.claim(room).await.map(|claims| {
                    for claim in claims {
                        flying.spawn(self.clone().deliver(claim));
                    }
                });
                note(&mut claiming, claimed);
            }
        }
        let landing = async { while flying.join_next().await.is_some() {} };
        if timeout(DRAIN_LIMIT, landing).await.is_err() {
            tracing::warn!(error.type = "timeout", "mails in flight were cut off after {DRAIN_LIMIT:?}");
        }
    }

    /// Everything that time does to deliveries.
    async fn tend(&self) -> anyhow::Result<()> {
        let mut conn = self.connection().await?;
        for id in delivery::end_lapsed_leases(&mut conn).await? {
            count_final("unknown", Final::Ambiguous);
            tracing::warn!(
                delivery_id = id,
                error.type = "ambiguous",
                "a delivery is ambiguous: its sender was lost in the middle of it",
            );
        }
        delivery::address_waiting(&mut conn).await?;
        for id in delivery::fail_waiting(&mut conn, MAX_WAIT_SECONDS).await? {
            count_final("unknown", Final::Failed);
            tracing::warn!(
                delivery_id = id,
                error.type = "unaddressed",
                "a mail was given up: its customer never became known"
            );
        }
        let waiting = delivery::count_waiting(&mut conn).await?;
        gauge!("email_waiting_for_customer").set(waiting as f64);
        Ok(())
    }

    async fn claim(&self, room: usize) -> anyhow::Result<Vec<Claim>> {
        let claiming = async {
            let mut conn = self.connection().await?;
            Ok(delivery::claim(&mut conn, room as i64, LEASE_SECONDS).await?)
        };
        measured("claim", claiming).await
    }

    async fn connection(&self) -> anyhow::Result<Object<AsyncPgConnection>> {
        self.pool.get().await.context("no database connection")
    }

    async fn deliver(self, claim: Claim) {
        let span = tracing::info_span!(
            "send",
            otel.name = "send mail",
            otel.kind = "client",
            peer.service = "smtp",
            server.address = Empty,
            server.port = Empty,
            template = claim.template,
            delivery_id = claim.id,
            event_id = %claim.event_id,
        );
        if let Some(traceparent) = &claim.traceparent {
            chassis::trace::set_parent(&span, traceparent);
        }
        let attempt = self.attempt(&claim).instrument(span.clone()).await;
        let within = span.clone();
        let settled = match attempt {
            Ok(attempt) => self.settle(&claim, attempt).instrument(span).await,
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            let _within = within.enter();
            // The lease ends by itself, and then `tend` decides by how far the delivery had come.
            tracing::warn!(
                delivery_id = claim.id,
                error = format!("{error:#}"),
                error.type = UNREACHABLE,
                "a delivery was left to its lease",
            );
        }
    }

    /// Errors are the database's, from before the message was sent.
    async fn attempt(&self, claim: &Claim) -> anyhow::Result<Attempt> {
        let message = match templates::compose(claim, &self.from) {
            Ok(message) => message,
            Err(error) => return Ok(Attempt::Finished(Final::Failed, Some(error.to_string()))),
        };
        let server = match SmtpUrl::read(&self.server) {
            Ok(server) => server,
            Err(refused) => return Ok(refused.into()),
        };
        let span = tracing::Span::current();
        span.record("server.address", &server.host);
        span.record("server.port", server.port);
        let ready = match server.open(message.envelope()).await {
            Ok(ready) => ready,
            Err(refused) => return Ok(refused.into()),
        };
        let beginning = async {
            let mut conn = self.connection().await?;
            anyhow::Ok(delivery::begin_transmitting(&mut conn, claim, LEASE_SECONDS).await?)
        };
        if !observed("begin", |_| UNREACHABLE, beginning).await? {
            ready.cancel().await;
            return Ok(Attempt::Lost);
        }
        let message = message.formatted();
        let mut sending = pin!(ready.send(&message));
        let answer = loop {
            match timeout(RENEW_INTERVAL, &mut sending).await {
                Ok(answer) => break answer,
                Err(_) => self.renew(claim).await,
            }
        };
        Ok(match answer {
            Answer::Accepted => Attempt::Finished(Final::Sent, None),
            Answer::Refused(refused) => refused.into(),
            Answer::None(reason) => Attempt::Finished(Final::Ambiguous, Some(reason)),
        })
    }

    /// Without effect on the conversation: a message that is under way can't be called back.
    async fn renew(&self, claim: &Claim) {
        let renewal = async {
            let mut conn = self.connection().await?;
            anyhow::Ok(delivery::renew(&mut conn, claim, LEASE_SECONDS).await?)
        };
        match observed("renew", |_| UNREACHABLE, renewal).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                delivery_id = claim.id,
                error.type = "lease-lost",
                "the lease ended while the mail was transmitted"
            ),
            Err(error) => tracing::warn!(
                delivery_id = claim.id,
                error = format!("{error:#}"),
                error.type = UNREACHABLE,
                "cannot renew the lease of a mail that is being transmitted",
            ),
        }
    }

    /// Writes the outcome, several times if need be: what is known about a mail that was sent must not be lost to a hiccup.
    async fn settle(&self, claim: &Claim, attempt: Attempt) -> anyhow::Result<()> {
        const TRIES: u32 = 5;
        for _ in 1..TRIES {
            let writing = self.write(claim, &attempt);
            if observed("settle", |_| UNREACHABLE, writing).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        observed("settle", |_| UNREACHABLE, self.write(claim, &attempt)).await
    }

    async fn write(&self, claim: &Claim, attempt: &Attempt) -> anyhow::Result<()> {
        let mut conn = self.connection().await?;
        let (state, held) = match attempt {
            Attempt::Lost => return Ok(()),
            Attempt::Retry(reason) if claim.attempts < MAX_ATTEMPTS => {
                let pause = pause_seconds(claim.attempts);
                tracing::info!(
                    delivery_id = claim.id,
                    attempts = claim.attempts,
                    reason,
                    pause_seconds = pause,
                    "not accepted; will be tried again"
                );
                let held = delivery::retry(&mut conn, claim, pause, reason).await?;
                warn_unless(held, claim);
                return Ok(());
            }
            Attempt::Retry(reason) => {
                let error = Some(reason.as_str());
                (
                    Final::Failed,
                    delivery::finish(&mut conn, claim, Final::Failed, error).await?,
                )
            }
            Attempt::Finished(state, error) => (
                *state,
                delivery::finish(&mut conn, claim, *state, error.as_deref()).await?,
            ),
        };
        warn_unless(held, claim);
        if held {
            count_final(&claim.template, state);
            if state != Final::Sent {
                tracing::warn!(
                    delivery_id = claim.id,
                    state = state.as_str(),
                    error.type = state.as_str(),
                    "a mail was not delivered for certain"
                );
            }
        }
        Ok(())
    }
}

impl From<Refused> for Attempt {
    fn from(refused: Refused) -> Attempt {
        match refused {
            Refused::Later(reason) => Attempt::Retry(reason),
            Refused::Never(reason) => Attempt::Finished(Final::Failed, Some(reason)),
        }
    }
}

fn warn_unless(held: bool, claim: &Claim) {
    if !held {
        tracing::warn!(
            delivery_id = claim.id,
            error.type = "lease-lost",
            "the lease had ended before the outcome was written; the delivery stays as it was declared",
        );
    }
}

/// Doubles from a second to a quarter of an hour; a tenth of chance, so that mails that failed together don't come back together.
fn pause_seconds(attempts: i32) -> f64 {
    let doubled = FIRST_PAUSE_SECONDS * 2f64.powi(attempts.clamp(1, 30) - 1);
    doubled.min(LONGEST_PAUSE_SECONDS) * rand::random_range(0.9..=1.0)
}

fn count_final(template: &str, state: Final) {
    counter!("email_deliveries_total", "template" => template.to_owned(), "state" => state.as_str())
        .increment(1);
}

/// Logs a failure when it begins, or changes, and its end.
fn note(trouble: &mut Option<String>, outcome: anyhow::Result<()>) {
    match outcome {
        Ok(()) => {
            if trouble.take().is_some() {
                tracing::info!("the sender reaches its table again");
            }
        }
        Err(error) => {
            let text = format!("{error:#}");
            if trouble.as_ref() != Some(&text) {
                tracing::error!(
                    error = text,
                    error.type = UNREACHABLE,
                    "the sender cannot work on its table and keeps trying"
                );
                *trouble = Some(text);
            }
        }
    }
}
