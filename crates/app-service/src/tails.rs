//! What follows the outbox: the relay to Kafka, the invalidator of the cache, the deletion of old rows, and the search
//! for versions without one.

use std::time::Duration;

use anyhow::Context as _;
use database::Access;
use events::topics;
use kafka::KafkaArgs;
use outbox::{Check, KafkaSink, KafkaSinkArgs, Retention, Sink, Tail, TailArgs, Topic};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{self, App};
use crate::invalidator::Invalidator;
use crate::restate::Storefront;

const SOURCE: &str = "app-service";

/// How far back a replay may go, and a consumer database's restore be repaired from here.
const ROWS_ARE_KEPT: Duration = Duration::from_secs(72 * 3600);
/// How long a page of records may wait for its acknowledgements.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
// app.rs's `Args` has clap's usual name.
#[group(id = "tails")]
#[command(next_help_heading = "Outbox")]
pub(crate) struct Args {
    /// Replicas that every topic must have, 1 to 15. Nothing is published to a topic that has fewer, or whose `min.insync.replicas` is
    /// not one less (1 where there is one replica).
    #[arg(
        long,
        env = "KAFKA_TOPIC_REPLICATION",
        value_name = "COUNT",
        default_value = "3",
        value_parser = clap::value_parser!(u16).range(1..=15)
    )]
    kafka_topic_replication: u16,
}

/// Running tails.
pub(crate) struct Tails {
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Tails {
    pub(crate) fn start(
        args: &Args,
        database: &Access,
        kafka: &KafkaArgs,
        app: &App,
    ) -> anyhow::Result<Tails> {
        let mut tails = Tails {
            stop: watch::Sender::new(false),
            running: JoinSet::new(),
        };
        let relay = KafkaSink::new(KafkaSinkArgs {
            kafka: kafka.clone(),
            source: SOURCE,
            topics: declared(usize::from(args.kafka_topic_replication)),
            deadline: DELIVERY_DEADLINE,
        });
        tails.follow(database, relay, app)?;
        tails.follow(database, Invalidator::new(app.cached.clone()), app)?;
        let retention = Retention {
            database: database.clone(),
            source: SOURCE,
            keep: ROWS_ARE_KEPT,
        };
        tails.running.spawn(retention.run(tails.told()));
        let check = Check::<Storefront>::new(database.clone(), SOURCE);
        tails.running.spawn(check.run(tails.told()));
        Ok(tails)
    }

    /// On a thread of its own, together with its connections: on the workers that answer requests, each few rows that arrive would
    /// wake another thread, and a busy worker would keep facts waiting.
    fn follow(&mut self, database: &Access, sink: impl Sink, app: &App) -> anyhow::Result<()> {
        let args = TailArgs {
            database: database.clone(),
            source: SOURCE,
            memory: cache::MEMORY,
            rows_are_kept: ROWS_ARE_KEPT,
        };
        let tail = Tail::new(args, sink, &app.wake);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot make a tail's event loop")?;
        let running = tail.run(self.told());
        self.running.spawn_blocking(move || {
            runtime.block_on(running);
            // A client of Kafka's that is being made needs not be waited for.
            runtime.shutdown_background();
        });
        Ok(())
    }

    fn told(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            // Also when the sender is dropped, because the server failed.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Returns when one of them has panicked.
    pub(crate) async fn panicked(&mut self) -> anyhow::Error {
        app::panicked(&mut self.running).await
    }

    /// Lets them deliver what was committed, for a few seconds, and hand over.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended.context("a tail ended early")?;
        }
        Ok(())
    }
}

/// The topics as the relay expects to find them.
fn declared(replication: usize) -> Vec<Topic> {
    let in_sync = (replication - 1).max(1).to_string();
    topics::ALL
        .iter()
        .map(|topic| {
            let settings = topic
                .settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .chain([("min.insync.replicas".to_owned(), in_sync.clone())]);
            Topic {
                name: topic.name.to_owned(),
                partitions: topic.partitions.unsigned_abs() as usize,
                replication,
                settings: settings.collect(),
            }
        })
        .collect()
}
