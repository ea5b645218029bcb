//! What librdkafka can do: a producer with the relay's settings that sends the relay's records, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kafka::KafkaArgs;
use rdkafka::ClientContext;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::{Producer as _, ProducerContext};

use crate::benches::cpu;

#[expect(
    clippy::disallowed_types,
    reason = "the floor of the relay has to be measured without the relay; no fact leaves the lab"
)]
mod allowed {
    pub(super) type Producer = rdkafka::producer::ThreadedProducer<super::Acknowledged>;
    pub(super) type Record<'a> = rdkafka::producer::BaseRecord<'a, [u8], [u8], ()>;
}
use allowed::{Producer, Record};

/// Records that are read back, to be sent again and again.
const TEMPLATES: usize = 10_000;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What became of a run.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// CPU time of this process.
    pub(crate) cpu: Duration,
    /// Key, payload and headers of a record, on average.
    pub(crate) record_bytes: usize,
}

/// Sends `count` records like those of `topic` to `topic`. Blocks.
pub(crate) fn send(kafka: &KafkaArgs, topic: &str, partitions: i32, count: u64) -> anyhow::Result<Run> {
    let templates = read_back(kafka, topic, partitions)?;
    let mut config = kafka.client("lab")?;
    // As the relay has them.
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        .set("socket.nagle.disable", "true");
    let producer: Producer = config
        .create_with_context(Acknowledged::default())
        .context("cannot make a producer")?;
    let own = std::process::id();
    let (begun, cpu) = (Instant::now(), cpu::of(own)?);
    for template in templates.iter().cycle().take(usize::try_from(count)?) {
        enqueue(&producer, topic, template, begun)?;
    }
    let acknowledged = || producer.context().0.load(Ordering::Acquire);
    while acknowledged() < count {
        ensure!(
            begun.elapsed() < PATIENCE,
            "{} of {count} records were acknowledged",
            acknowledged()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Run {
        per_second: count as f64 / begun.elapsed().as_secs_f64(),
        cpu: cpu::of(own)?.saturating_sub(cpu),
        record_bytes: templates.iter().map(size).sum::<usize>() / templates.len(),
    })
}

fn enqueue(producer: &Producer, topic: &str, template: &OwnedMessage, begun: Instant) -> anyhow::Result<()> {
    let mut record = Record::to(topic)
        .key(template.key().unwrap_or_default())
        .payload(template.payload().unwrap_or_default());
    record.headers = template.headers().cloned();
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                ensure!(begun.elapsed() < PATIENCE, "the broker takes no more records");
                record = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// The first records of the topic.
fn read_back(kafka: &KafkaArgs, topic: &str, partitions: i32) -> anyhow::Result<Vec<OwnedMessage>> {
    let mut config = kafka.client("lab")?;
    config.set("group.id", "lab").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().context("cannot make a Kafka client")?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut found = Vec::new();
    let mut silent = 0;
    while found.len() < TEMPLATES && silent < 20 {
        match consumer.poll(Duration::from_millis(250)) {
            Some(Ok(record)) => found.push(record.detach()),
            Some(Err(_)) | None => silent += 1,
        }
    }
    ensure!(!found.is_empty(), "{topic} has no record");
    Ok(found)
}

fn size(record: &OwnedMessage) -> usize {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    record.key().map_or(0, <[u8]>::len)
        + record.payload().map_or(0, <[u8]>::len)
        + headers
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len))
            .sum::<usize>()
}

/// Counts delivery reports, on librdkafka's thread.
#[derive(Default)]
struct Acknowledged(AtomicU64);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        // A record that fails is never acknowledged, and the run gives up.
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}
