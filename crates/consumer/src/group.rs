//! Membership of the group: what happens when partitions come and go. All of it runs on the poll thread, inside `poll`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use database::Pool;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::measure;
use crate::partition::Partition;
use crate::position;
use crate::runner::Health;

/// For the workers of revoked partitions to finish what they have in hand. The group waits for it; the position's lock makes an
/// overrun harmless.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
const DRAIN_TICK: Duration = Duration::from_millis(5);

/// For the positions of new partitions. The poll thread reads them, so it must stay far below `max.poll.interval.ms` (5 min).
const ASSIGN_LIMIT: Duration = Duration::from_secs(60);
const READ_LIMIT: Duration = Duration::from_secs(5);

/// A partition that this member owns.
pub(crate) struct Assigned {
    pub(crate) partition: Arc<Partition>,
    pub(crate) worker: JoinHandle<()>,
    /// Where the client's next fetch begins.
    pub(crate) fetch_next: i64,
    pub(crate) paused: bool,
    /// What Kafka was last told.
    pub(crate) committed: i64,
    /// High watermark, once known.
    pub(crate) high: Option<i64>,
}

/// Starts the worker of a partition.
pub(crate) type Spawn = Arc<dyn Fn(Arc<Partition>) -> JoinHandle<()> + Send + Sync>;

/// rdkafka's context: the state behind the callbacks.
pub(crate) struct Group {
    pub(crate) runtime: Handle,
    pub(crate) pool: Pool,
    pub(crate) topics: Vec<String>,
    pub(crate) spawn: Spawn,
    pub(crate) health: Arc<dyn Fn(Health) + Send + Sync>,
    pub(crate) stopping: Arc<AtomicBool>,
    assigned: Mutex<Vec<Assigned>>,
    /// Set by a callback that can't go on; ends the poll loop.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Group {
    pub(crate) fn new(
        runtime: Handle,
        pool: Pool,
        topics: Vec<String>,
        spawn: Spawn,
        health: Arc<dyn Fn(Health) + Send + Sync>,
        stopping: Arc<AtomicBool>,
    ) -> Group {
        Group {
            runtime,
            pool,
            topics,
            spawn,
            health,
            stopping,
            assigned: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    pub(crate) fn assigned(&self) -> MutexGuard<'_, Vec<Assigned>> {
        lock(&self.assigned)
    }

    pub(crate) fn take_failure(&self) -> Option<anyhow::Error> {
        lock(&self.failure).take()
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let starts = self.starts(list).unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        });
        // Even after a failure: librdkafka waits for the call before it lets the consumer close. The records have no owner here then,
        // and are dropped.
        if let Err(error) = consumer.incremental_assign(list) {
            return self.fail(anyhow!(error).context("cannot take partitions"));
        }
        let mut assigned = self.assigned();
        for (topic, number, next) in starts {
            tracing::info!(topic, partition = number, next_offset = next, "assigned");
            let partition = Arc::new(Partition::new(topic, number, next));
            assigned.push(Assigned {
                worker: (self.spawn)(partition.clone()),
                partition,
                fetch_next: next,
                paused: false,
                committed: -1,
                high: None,
            });
        }
        drop(assigned);
        (self.health)(Health::Assigned);
    }

    /// Sets each new partition's offset on the list and returns them.
    fn starts(&self, list: &mut TopicPartitionList) -> anyhow::Result<Vec<(String, i32, i64)>> {
        if self.stopping.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let positions = self.runtime.block_on(self.positions())?;
        let mut starts = Vec::new();
        for mut element in list.elements() {
            let key = (element.topic().to_owned(), element.partition());
            let next = positions.get(&key).copied().unwrap_or(0);
            element.set_offset(Offset::Offset(next))?;
            starts.push((key.0, key.1, next));
        }
        Ok(starts)
    }

    fn fail(&self, error: anyhow::Error) {
        *lock(&self.failure) = Some(error);
    }

    /// The positions in the database, tried again until they are there or the limit is over.
    async fn positions(&self) -> anyhow::Result<HashMap<(String, i32), i64>> {
        let started = Instant::now();
        loop {
            let read = async {
                let mut conn = self.pool.get().await?;
                anyhow::Ok(position::read(&mut conn, &self.topics).await?)
            };
            let error = match tokio::time::timeout(READ_LIMIT, read).await {
                Ok(Ok(positions)) => return Ok(positions),
                Ok(Err(error)) => error,
                Err(_) => anyhow!("no answer within {READ_LIMIT:?}"),
            };
            if started.elapsed() > ASSIGN_LIMIT || self.stopping.load(Ordering::Relaxed) {
                return Err(error).context("cannot read the positions of new partitions");
            }
            tracing::warn!(reason = %error, error.type = "database", "waiting for the positions of new partitions");
            (self.health)(Health::Polled);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let revoked: Vec<(String, i32)> = list
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        let is_revoked = |a: &mut Assigned| {
            revoked
                .iter()
                .any(|(topic, number)| a.partition.number == *number && a.partition.topic == *topic)
        };
        let going: Vec<Assigned> = self.assigned().extract_if(.., is_revoked).collect();
        tracing::info!(partitions = revoked.len(), lost, "revoked");
        self.drain(going, |done| {
            // Partitions that were lost have another owner, and its word counts.
            if !lost {
                commit(consumer, done);
            }
        });
        if let Err(error) = consumer.incremental_unassign(list) {
            self.fail(anyhow!(error).context("cannot give partitions back"));
        }
    }

    /// Ends the workers of every partition and tells Kafka how far they came.
    pub(crate) fn drain_all(&self, consumer: &BaseConsumer<Self>) {
        let all = std::mem::take(&mut *self.assigned());
        self.drain(all, |done| commit(consumer, done));
    }

    fn drain(&self, mut going: Vec<Assigned>, then: impl FnOnce(&mut [Assigned])) {
        for a in &going {
            a.partition.close();
        }
        // Not awaited on the runtime: it may be gone already when the process is on its way out.
        let deadline = Instant::now() + DRAIN_LIMIT;
        while going.iter().any(|a| !a.worker.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(DRAIN_TICK);
        }
        for a in going.iter().filter(|a| !a.worker.is_finished()) {
            tracing::warn!(
                topic = a.partition.topic,
                partition = a.partition.number,
                error.type = "timeout",
                "a worker was cut off: it did not finish within {DRAIN_LIMIT:?}",
            );
            a.worker.abort();
        }
        for a in &going {
            measure::lag(&a.partition).set(0);
            measure::age(&a.partition).set(0);
        }
        then(&mut going);
    }
}

/// Tells Kafka, without waiting for its answer, what is applied. Only lag tools read it, so a lost commit costs nothing.
pub(crate) fn commit(consumer: &BaseConsumer<Group>, assigned: &mut [Assigned]) {
    let mut list = TopicPartitionList::new();
    for a in assigned {
        let next = a.partition.next();
        // Nothing applied yet: at 0 there is nothing to tell.
        if next > a.committed && next > 0 {
            let offset = Offset::Offset(next);
            if list
                .add_partition_offset(&a.partition.topic, a.partition.number, offset)
                .is_ok()
            {
                a.committed = next;
            }
        }
    }
    if list.count() > 0
        && let Err(error) = consumer.commit(&list, CommitMode::Async)
    {
        tracing::warn!(%error, error.type = "kafka", "cannot commit offsets to Kafka");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        measure::rebalanced();
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "Kafka refused an offset commit");
        }
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka calls a broker that restarts an error; nobody has to act on it.
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug | RDKafkaLogLevel::Notice => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::warn!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }

    fn stats(&self, statistics: Statistics) {
        for a in self.assigned().iter_mut() {
            let found = statistics
                .topics
                .get(&a.partition.topic)
                .and_then(|topic| topic.partitions.get(&a.partition.number));
            // Negative until the first fetch.
            a.high = found.map(|p| p.hi_offset).filter(|high| *high >= 0).or(a.high);
        }
    }
}
