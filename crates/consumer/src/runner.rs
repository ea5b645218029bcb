use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use database::Pool;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::{Semaphore, oneshot};

use crate::args::ConsumerArgs;
use crate::group::{Group, Spawn};
use crate::poll::Ended;
use crate::record::Handler;
use crate::rotation::Rotation;
use crate::worker::Workers;
use crate::{measure, poison, poll};

/// From the stop signal until the workers are drained: a poll, a seek or a position read in progress, then the drain itself.
const STOP_LIMIT: Duration = Duration::from_secs(12);
/// For leaving the group. Closing a consumer is known to hang when brokers are gone; the session timeout then does what leaving would.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A member of a consumer group that applies records with `H`.
pub struct Consumer<H> {
    args: ConsumerArgs,
    pool: Pool,
    topics: Vec<String>,
    handler: H,
}

/// What the process's probes and logs want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The poll loop turned; at least every 5 s or so while it is alive.
    Polled,
    /// Partitions were assigned (maybe none, when there are more members than partitions).
    Assigned,
    /// A partition can't go on; logged already.
    Stuck {
        topic: String,
        partition: i32,
        offset: i64,
        reason: String,
    },
    /// It goes on.
    Recovered { topic: String, partition: i32 },
}

impl<H: Handler> Consumer<H> {
    /// Connects to nothing yet. The database needs the tables of the README.
    pub fn new(args: &ConsumerArgs, pool: Pool, topics: &[&str], handler: H) -> Self {
        Consumer {
            args: args.clone(),
            pool,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            handler,
        }
    }

    /// Consumes until `stop` completes; then drains, commits and leaves the group, within 20 s.
    ///
    /// # Errors
    /// When the client cannot be made, when a position lies outside of its log, when the positions of new partitions cannot be read
    /// for a minute, or when librdkafka reports a fatal error. Everything else is retried.
    pub async fn run(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
        health: impl Fn(Health) + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        measure::describe(&self.topics);
        self.count_dead_letters().await?;
        let stopping = Arc::new(AtomicBool::new(false));
        // Also when this future is dropped, the thread ends.
        let _stop_thread = SetOnDrop(stopping.clone());
        let (mut drained, closed) = self.spawn_poll_thread(stopping.clone(), Arc::new(health))?;

        let outcome = tokio::select! {
            outcome = &mut drained => outcome,
            () = stop => {
                stopping.store(true, Ordering::Relaxed);
                tokio::time::timeout(STOP_LIMIT, drained)
                    .await
                    .context("the poll thread did not stop in time")?
            }
        }
        .unwrap_or_else(|_| Err(anyhow!("the poll thread panicked")));
        stopping.store(true, Ordering::Relaxed);
        if tokio::time::timeout(CLOSE_LIMIT, closed).await.is_err() {
            tracing::warn!(error.type = "timeout", "did not leave the group within {CLOSE_LIMIT:?}");
        }
        outcome
    }

    async fn count_dead_letters(&self) -> anyhow::Result<()> {
        let mut conn = self.pool.get().await?;
        let count = poison::count(&mut conn)
            .await
            .context("cannot count the dead letters")?;
        measure::dead_letters().set(count as f64);
        Ok(())
    }

    /// The first receiver gets the outcome once the workers are drained, the second fires when the consumer is gone.
    ///
    /// A plain thread, because both polling and dropping a consumer block.
    fn spawn_poll_thread(
        self,
        stopping: Arc<AtomicBool>,
        health: Arc<dyn Fn(Health) + Send + Sync>,
    ) -> anyhow::Result<(oneshot::Receiver<anyhow::Result<()>>, oneshot::Receiver<()>)> {
        let args = self.args.clone();
        let group = self.groups(stopping, health);
        let (drained, drained_receiver) = oneshot::channel();
        let (closed, closed_receiver) = oneshot::channel();
        let poll = move || {
            poll_in_turn(&args, group, drained);
            let _ = closed.send(());
        };
        std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(poll)
            .context("cannot start the poll thread")?;
        Ok((drained_receiver, closed_receiver))
    }

    /// A context for each client that this process makes in turn.
    fn groups(
        self,
        stopping: Arc<AtomicBool>,
        health: Arc<dyn Fn(Health) + Send + Sync>,
    ) -> impl Fn() -> Group + Send {
        let runtime = tokio::runtime::Handle::current();
        let workers = Arc::new(Workers {
            permits: Semaphore::new((self.pool.status().max_size / 2).max(1)),
            pool: self.pool.clone(),
            handler: self.handler,
            health: health.clone(),
            group_id: self.args.group_id,
        });
        let handle = runtime.clone();
        let spawn: Spawn = Arc::new(move |partition| handle.spawn(workers.clone().run(partition)));
        move || {
            Group::new(
                runtime.clone(),
                self.pool.clone(),
                self.topics.clone(),
                spawn.clone(),
                health.clone(),
                stopping.clone(),
            )
        }
    }
}

/// Consumes with one client after the other, each until a secret is rotated, because librdkafka keeps what it was made with. Returns
/// after the last one is gone; `drained` gets the outcome before that.
fn poll_in_turn(
    args: &ConsumerArgs,
    group: impl Fn() -> Group,
    drained: oneshot::Sender<anyhow::Result<()>>,
) {
    // Nobody listens any more when `run` was dropped.
    let done = |outcome| drop(drained.send(outcome));
    loop {
        let made = args.config().map_err(anyhow::Error::from).and_then(|config| {
            let consumer: BaseConsumer<Group> = config.create_with_context(group())?;
            Ok((consumer, config))
        });
        let (consumer, config) = match made {
            Ok(made) => made,
            Err(error) => return done(Err(error.context("cannot create the consumer"))),
        };
        let mut rotation = Rotation::since(args, &config);
        match poll::run(&consumer, || rotation.is_due()) {
            Ok(Ended::Rotated) => {
                tracing::info!(
                    "a password or certificate for Kafka was rotated: joining again with the new one"
                );
            }
            Ok(Ended::Stopped) => return done(Ok(())),
            Err(error) => return done(Err(error)),
        }
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
