//! Kafka as an onlooker sees it: every record of the topics, as soon as it is there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use envelope::Envelope;
use kafka::KafkaArgs;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::ledger::settle::Partition;

/// How long it takes at most to notice that it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// How long after the last trouble with a broker it is read from anew.
const CALM: Duration = Duration::from_secs(2);

/// The records of the topics, by whether their order makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Order {
    /// First copies: each is one version above the one before it.
    pub first_copies: u64,
    /// Versions that were there before.
    pub duplicates: u64,
    /// Versions that came before their predecessor.
    pub out_of_order: u64,
    /// Records that are no envelope.
    pub undecodable: u64,
}

/// Reads the topics from their beginning on a thread of its own.
pub struct LogWatch {
    shared: Arc<Mutex<Shared>>,
    seen: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    ends: BTreeMap<Partition, i64>,
    versions: BTreeMap<(String, Uuid), i64>,
    order: Order,
    /// How old each record's fact was when it arrived, in microseconds; nothing until somebody asks.
    ages_us: Option<Vec<u32>>,
}

impl LogWatch {
    /// Begins to read `topics`, each of which has `partitions` partitions.
    pub fn start(kafka: &KafkaArgs, topics: &[events::topics::Topic]) -> anyhow::Result<LogWatch> {
        let kafka = kafka.clone();
        let partitions: Vec<Partition> = topics
            .iter()
            .flat_map(|topic| (0..topic.partitions).map(|partition| (topic.name.to_owned(), partition)))
            .collect();
        let mut consumer = follow(&kafka, &partitions, &BTreeMap::new())?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (arrived, seen) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let kept = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut troubled: Option<Instant> = None;
            while !*stopped.borrow() {
                match consumer.poll(POLL) {
                    Some(Ok(record)) => {
                        kept.lock()
                            .expect("nothing panics while it holds the lock")
                            .take(&record);
                        arrived.send_modify(|count| *count += 1);
                    }
                    // Connections come and go; what counts is what arrives.
                    Some(Err(_)) => troubled = Some(Instant::now()),
                    None => {}
                }
                // After a broker was away librdkafka sometimes reads one partition no more, for ever and without a word.
                if troubled.is_some_and(|since| since.elapsed() > CALM) {
                    troubled = None;
                    let ends = kept
                        .lock()
                        .expect("nothing panics while it holds the lock")
                        .ends
                        .clone();
                    match follow(&kafka, &partitions, &ends) {
                        Ok(another) => consumer = another,
                        Err(error) => tracing::warn!("cannot read the log anew: {error:#}"),
                    }
                }
            }
        });
        Ok(LogWatch {
            shared,
            seen,
            stop,
            thread,
        })
    }

    /// The end of every partition that has a record, as far as it was read.
    pub fn ends(&self) -> BTreeMap<Partition, i64> {
        self.shared
            .lock()
            .expect("nothing panics while it holds the lock")
            .ends
            .clone()
    }

    /// The highest version of each aggregate, by its type and id.
    pub fn versions(&self) -> BTreeMap<(String, Uuid), i64> {
        self.shared
            .lock()
            .expect("nothing panics while it holds the lock")
            .versions
            .clone()
    }

    /// What it has seen so far.
    pub fn order(&self) -> Order {
        self.shared
            .lock()
            .expect("nothing panics while it holds the lock")
            .order
    }

    /// How old the facts were whose records have arrived since the last call, in microseconds: from the insert into the outbox until
    /// the record was read here. Whoever calls it once has to go on, because they are kept until then.
    pub fn take_ages(&self) -> Vec<u32> {
        let mut shared = self
            .shared
            .lock()
            .expect("nothing panics while it holds the lock");
        shared.ages_us.replace(Vec::new()).unwrap_or_default()
    }

    /// Tells of every record that arrives from now on.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        let mut seen = self.seen.clone();
        seen.mark_unchanged();
        seen
    }

    /// Stops reading; what it saw.
    pub async fn stop(self) -> Order {
        self.stop.send_replace(true);
        // Dropping a consumer blocks.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
        self.shared
            .lock()
            .expect("nothing panics while it holds the lock")
            .order
    }
}

/// Reads `partitions` from where `ends` says, otherwise from their beginning.
fn follow(
    kafka: &KafkaArgs,
    partitions: &[Partition],
    ends: &BTreeMap<Partition, i64>,
) -> anyhow::Result<BaseConsumer> {
    let mut config = kafka.client("lab")?;
    // It belongs to no group and commits nothing, but librdkafka does not start without a name.
    config.set("group.id", "lab").set("enable.auto.commit", "false");
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let from = ends
            .get(partition)
            .map_or(Offset::Beginning, |end| Offset::Offset(*end));
        assignment.add_partition_offset(&partition.0, partition.1, from)?;
    }
    let consumer: BaseConsumer = config.create().context("cannot make a Kafka client")?;
    consumer.assign(&assignment).context("cannot read the topics")?;
    Ok(consumer)
}

impl Shared {
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        self.ends.insert(
            (record.topic().to_owned(), record.partition()),
            record.offset() + 1,
        );
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
        match Envelope::parse(headers.map(|header| (header.key, header.value))) {
            Ok(envelope) => {
                if let Some(ages) = &mut self.ages_us {
                    let age = OffsetDateTime::now_utc() - envelope.time;
                    ages.push(u32::try_from(age.whole_microseconds().max(0)).unwrap_or(u32::MAX));
                }
                self.sort_in(
                    envelope.aggregate_type,
                    envelope.aggregate_id,
                    envelope.aggregate_version,
                );
            }
            Err(_) => self.order.undecodable += 1,
        }
    }

    fn sort_in(&mut self, kind: &str, id: Uuid, version: i64) {
        let mut last = match self.versions.entry((kind.to_owned(), id)) {
            Entry::Occupied(last) => last,
            Entry::Vacant(unknown) => unknown.insert_entry(0),
        };
        let expected = last.get() + 1;
        match version.cmp(&expected) {
            std::cmp::Ordering::Equal => self.order.first_copies += 1,
            std::cmp::Ordering::Less => self.order.duplicates += 1,
            std::cmp::Ordering::Greater => self.order.out_of_order += 1,
        }
        last.insert(version.max(expected - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_before_its_predecessor_is_out_of_order() {
        let check = |versions: &[i64], expected: [u64; 3]| {
            let mut shared = Shared::default();
            for version in versions {
                shared.sort_in("order", Uuid::nil(), *version);
            }
            let Order {
                first_copies,
                duplicates,
                out_of_order,
                ..
            } = shared.order;
            assert_eq!([first_copies, duplicates, out_of_order], expected, "{versions:?}");
        };
        check(&[1, 2, 3], [3, 0, 0]);
        check(&[1, 2, 1, 2, 3], [3, 2, 0]);
        check(&[2, 1], [0, 1, 1]);
        check(&[1, 3, 2], [1, 1, 1]);
    }
}
