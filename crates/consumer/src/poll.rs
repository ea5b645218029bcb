//! The poll thread: it alone touches the Kafka consumer.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::Ordering;

use crate::group::{self, Assigned, Group};
use crate::measure;
use crate::partition::{Fetched, Partition};
use crate::record::Raw;
use crate::runner::Health;

/// How long one poll waits, and so how soon a rewind or a drained queue is noticed.
const TICK: Duration = Duration::from_millis(50);
/// Between commits to Kafka and updates of the gauges.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const SEEK_LIMIT: Duration = Duration::from_secs(1);
/// Between two log lines about the same trouble with Kafka.
const REPEAT_LOG: Duration = Duration::from_secs(30);

/// Why polling ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Stopped,
    /// This client was made with a password or certificate that is no longer the one to use.
    Rotated,
}

/// Polls until told to stop, or until `rotated`, which is asked every second; then drains the workers and commits.
pub(crate) fn run(consumer: &BaseConsumer<Group>, rotated: impl FnMut() -> bool) -> anyhow::Result<Ended> {
    let group = consumer.context().clone();
    let topics: Vec<&str> = group.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    let polled = poll_until_ended(consumer, &group, rotated);
    group.drain_all(consumer);
    polled
}

fn poll_until_ended(
    consumer: &BaseConsumer<Group>,
    group: &Group,
    mut rotated: impl FnMut() -> bool,
) -> anyhow::Result<Ended> {
    let mut tended = Instant::now();
    let mut reported = Instant::now();
    let mut trouble = Trouble::default();
    while !group.stopping.load(Ordering::Relaxed) {
        (group.health)(Health::Polled);
        match consumer.poll(TICK) {
            Some(Ok(message)) => receive(consumer, group, &message)?,
            Some(Err(error)) => trouble.judge(error)?,
            None => {}
        }
        if let Some(failure) = group.take_failure() {
            return Err(failure);
        }
        if tended.elapsed() >= TICK {
            for assigned in group.assigned().iter_mut() {
                tend(consumer, assigned)?;
            }
            tended = Instant::now();
        }
        if reported.elapsed() >= REPORT_INTERVAL {
            let mut assigned = group.assigned();
            group::commit(consumer, &mut assigned);
            assigned.iter().for_each(report);
            drop(assigned);
            if rotated() {
                return Ok(Ended::Rotated);
            }
            reported = Instant::now();
        }
    }
    Ok(Ended::Stopped)
}

/// Hands a record to its partition's queue, and pauses the partition when that was the last place.
fn receive(
    consumer: &BaseConsumer<Group>,
    group: &Group,
    message: &BorrowedMessage<'_>,
) -> anyhow::Result<()> {
    let mut assigned = group.assigned();
    let Some(owner) = assigned
        .iter_mut()
        .find(|a| a.partition.number == message.partition() && a.partition.topic == message.topic())
    else {
        return Ok(());
    };
    if message.offset() < owner.fetch_next {
        return Ok(());
    }
    measure::consumed(&owner.partition.topic, 1);
    let from = owner.fetch_next;
    owner.fetch_next = message.offset() + 1;
    let full = owner.partition.push(Fetched {
        raw: raw(message),
        from,
    });
    if full && !owner.paused {
        consumer.pause(&only(&owner.partition))?;
        owner.paused = true;
    }
    Ok(())
}

/// Does what the worker asked for: fetch from the position again, or go on after the queue has drained.
fn tend(consumer: &BaseConsumer<Group>, assigned: &mut Assigned) -> anyhow::Result<()> {
    let partition = &assigned.partition;
    if let Some(next) = partition.wanted_rewind() {
        let offset = Offset::Offset(next);
        // Fails while the partition is only just starting; the next turn tries again, and until then its records are dropped.
        match consumer.seek(&partition.topic, partition.number, offset, SEEK_LIMIT) {
            Ok(()) => {
                assigned.fetch_next = next;
                assigned.committed = -1;
                partition.rewound(next);
            }
            Err(error) => tracing::debug!(
                topic = partition.topic,
                partition = partition.number,
                %error,
                "cannot seek yet",
            ),
        }
    }
    if assigned.paused && partition.has_room() {
        consumer.resume(&only(partition))?;
        assigned.paused = false;
    }
    Ok(())
}

fn report(assigned: &Assigned) {
    let partition = &assigned.partition;
    if let Some(high) = assigned.high {
        measure::lag(partition).set((high - partition.next()).max(0) as f64);
    }
    let now_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.as_millis() as i64);
    let age_ms = partition.oldest_ms().map_or(0, |oldest| (now_ms - oldest).max(0));
    measure::age(partition).set(age_ms as f64 / 1000.0);
}

fn only(partition: &Partition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&partition.topic, partition.number);
    list
}

fn raw(message: &BorrowedMessage<'_>) -> Raw {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Raw {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        headers,
        payload: message.payload().map(<[u8]>::to_vec),
    }
}

/// Errors that `poll` returns: most pass, and librdkafka goes on by itself.
#[derive(Default)]
struct Trouble {
    last: Option<(KafkaError, Instant)>,
}

impl Trouble {
    fn judge(&mut self, error: KafkaError) -> anyhow::Result<()> {
        match &error {
            KafkaError::MessageConsumptionFatal(_) => return Err(anyhow!(error)),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => bail!(
                "a position lies outside of its partition's log: either the topic or the database is not the one it was; \
                 compare the table `position` with the topic's offsets"
            ),
            _ => {}
        }
        let is_new = self
            .last
            .as_ref()
            .is_none_or(|(last, at)| *last != error || at.elapsed() > REPEAT_LOG);
        if is_new {
            tracing::warn!(%error, error.type = "kafka", "trouble with Kafka; retrying");
            self.last = Some((error, Instant::now()));
        }
        Ok(())
    }
}
