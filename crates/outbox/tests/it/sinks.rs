//! Where tests let pages go: a list in memory, which is what a topic with one partition is, and a real topic.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use envelope::Envelope;
use kafka::KafkaArgs;
use outbox::{Identity, KafkaSink, KafkaSinkArgs, Page, Sink, SinkError, Topic, Watermark};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use testkit::Version;

pub(crate) const PARTITIONS: i32 = 3;

/// What was delivered so far.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Version>>>);

impl Seen {
    pub(crate) fn all(&self) -> Vec<Version> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn add(&self, version: Version) {
        self.0.lock().unwrap().push(version);
    }

    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Version]) -> bool) -> Vec<Version> {
        testkit::eventually(what, async || Some(self.all()).filter(|seen| enough(seen))).await
    }

    /// Waits until everything in `committed` was seen.
    pub(crate) async fn until_all(&self, committed: &[Version]) -> Vec<Version> {
        let missing = |seen: &[Version]| {
            let seen: std::collections::HashSet<_> = seen.iter().collect();
            committed.iter().all(|version| seen.contains(version))
        };
        self.until("everything that was committed", missing).await
    }
}

/// Keeps what it is given. What it says of itself is the test's to change.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Seen,
    pub(crate) identity: Arc<Mutex<Identity>>,
    pub(crate) watermark: Arc<Mutex<Option<Watermark>>>,
    pub(crate) losses: Arc<Mutex<usize>>,
}

impl Sink for Recorder {
    const NAME: &'static str = "cache";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        for row in page.rows() {
            self.seen.add((row.aggregate_id(), row.aggregate_version()));
        }
        Ok(())
    }

    async fn identity(&mut self) -> Result<Identity, SinkError> {
        Ok(self.identity.lock().unwrap().clone())
    }

    async fn lost(&mut self) -> Result<(), SinkError> {
        *self.losses.lock().unwrap() += 1;
        Ok(())
    }

    async fn caught_up(&mut self, to: &Watermark) -> Result<(), SinkError> {
        *self.watermark.lock().unwrap() = Some(*to);
        Ok(())
    }
}

/// A recorder in the relay's place.
pub(crate) struct Relay(pub(crate) Recorder);

impl Sink for Relay {
    const NAME: &'static str = "kafka";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        self.0.deliver(page).await
    }
}

/// A new topic; a `Fact` names its topic for the life of the process, as the real ones do.
pub(crate) async fn topic() -> &'static str {
    testkit::topic("outbox", PARTITIONS).await.leak()
}

pub(crate) fn relay(topic: &str) -> KafkaSink {
    relay_declaring(declared(topic))
}

pub(crate) fn relay_declaring(topic: Topic) -> KafkaSink {
    KafkaSink::new(KafkaSinkArgs {
        kafka: testkit::kafka_args(),
        source: "outbox-test",
        topics: vec![topic],
        deadline: Duration::from_secs(10),
    })
}

pub(crate) fn declared(topic: &str) -> Topic {
    Topic {
        name: topic.to_owned(),
        partitions: PARTITIONS as usize,
        replication: 1,
        settings: vec![("min.insync.replicas".to_owned(), "1".to_owned())],
    }
}

/// Follows a topic from its beginning, in the order of each partition.
pub(crate) fn follow(topic: &'static str) -> Seen {
    follow_as(testkit::kafka_args(), topic)
}

/// The same, on another broker.
pub(crate) fn follow_as(kafka: KafkaArgs, topic: &'static str) -> Seen {
    let seen = Seen::default();
    let target = Arc::downgrade(&seen.0);
    // An OS thread, because dropping a consumer blocks.
    std::thread::spawn(move || {
        let consumer = reading(&kafka, topic);
        while let Some(copies) = target.upgrade() {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            let headers = message.headers().unwrap();
            let envelope = Envelope::parse(headers.iter().map(|h| (h.key, h.value))).unwrap();
            assert_eq!(message.key(), Some(envelope.aggregate_id.to_string().as_bytes()));
            copies
                .lock()
                .unwrap()
                .push((envelope.aggregate_id, envelope.aggregate_version));
        }
    });
    seen
}

/// Reads a topic from its beginning, as nobody's member.
pub(crate) fn reading(kafka: &KafkaArgs, topic: &str) -> BaseConsumer {
    let mut config = kafka.client("outbox-test").unwrap();
    config
        .set("group.id", "unused")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&partitions).unwrap();
    consumer
}
