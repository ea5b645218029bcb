//! The system's only producer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use envelope::Scratch;
use kafka::KafkaArgs;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::Notify;
use tracing::Span;

use crate::page::{Page, Row};
use crate::sink::{Sink, SinkError};
use crate::topics::{self, Topic};
use crate::trace::publish_span;

#[expect(
    clippy::disallowed_types,
    reason = "what is published here is a committed row, which is what the rule protects"
)]
mod allowed {
    pub(super) type Producer = rdkafka::producer::ThreadedProducer<super::Deliveries>;
    pub(super) type Record<'a> = rdkafka::producer::BaseRecord<'a, [u8], [u8], std::sync::Arc<super::Report>>;
}
use allowed::{Producer, Record};

/// How often the secrets' files are looked at, while there is something to publish.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// After so many records other tasks of the thread get their turn: a page takes milliseconds.
const ROWS_AT_ONCE: usize = 256;

/// What the relay needs.
#[derive(Debug, Clone)]
pub struct KafkaSinkArgs {
    pub kafka: KafkaArgs,
    /// `ce_source`, and the client's name at the broker.
    pub source: &'static str,
    /// The topics as they were declared. Nothing is published while one of them differs.
    pub topics: Vec<Topic>,
    /// How long a page may take until every record of it is acknowledged. Then the producer is given
    /// up: librdkafka itself retries for ever.
    pub deadline: Duration,
}

/// Publishes pages to Kafka: the relay.
pub struct KafkaSink {
    args: KafkaSinkArgs,
    live: Option<Live>,
    scratch: Scratch,
}

impl KafkaSink {
    /// Connects to nothing yet.
    pub fn new(args: KafkaSinkArgs) -> KafkaSink {
        KafkaSink {
            args,
            live: None,
            scratch: Scratch::default(),
        }
    }

    async fn connect(&self) -> Result<Live, SinkError> {
        let args = self.args.clone();
        // Making a client, asking for metadata and dropping a client all block.
        let connecting = tokio::task::spawn_blocking(move || {
            let config = client(&args)?;
            topics::check(&config, &args.topics)?;
            let producer = producer(config.clone()).map_err(|error| SinkError::new(class(&error), error))?;
            Ok(Live {
                producer: Some(producer),
                config,
                compared: Instant::now(),
            })
        });
        connecting
            .await
            .unwrap_or_else(|panicked| Err(SinkError::new("other", panicked)))
    }

    /// Whether the producer was made with a password or certificates that have been rotated since. librdkafka keeps what it
    /// was made with; between two pages nothing is outstanding, so another can take over without a fact out of order.
    fn is_outdated(&self, live: &mut Live) -> bool {
        if live.compared.elapsed() < COMPARE_EVERY {
            return false;
        }
        live.compared = Instant::now();
        match client(&self.args) {
            Ok(config) => !kafka::same_secrets(&config, &live.config),
            Err(error) => {
                // The old one's connections are good; should they end, the page's deadline does the rest.
                tracing::warn!(%error, "a password or certificate for Kafka was rotated, but cannot be used");
                false
            }
        }
    }
}

impl Sink for KafkaSink {
    const NAME: &'static str = "kafka";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        // Taken out for as long as records are in flight. Unless all of them are acknowledged the producer is dropped
        // with everything that it still holds: records behind a failed one may have gone out, and only a new producer
        // that starts again at the page's first row keeps first copies in order.
        let kept = self.live.take().and_then(|mut live| {
            let outdated = self.is_outdated(&mut live);
            (!outdated).then_some(live)
        });
        let live = match kept {
            Some(live) => live,
            None => self.connect().await?,
        };
        let publishing = publish(live.producer(), page, self.args.source, &mut self.scratch);
        match tokio::time::timeout(self.args.deadline, publishing).await {
            Ok(published) => published?,
            Err(late) => return Err(SinkError::new("deadline", late)),
        }
        count_sent(page);
        self.live = Some(live);
        Ok(())
    }
}

/// With the password and the certificates as they are now.
fn client(args: &KafkaSinkArgs) -> Result<ClientConfig, SinkError> {
    let client = args.kafka.client(args.source);
    client.map_err(|error| SinkError::new("unusable", error))
}

fn producer(mut config: ClientConfig) -> Result<Producer, KafkaError> {
    config
        // A fact is published once a majority of in-sync replicas has it.
        .set("acks", "all")
        // Retries inside librdkafka neither reorder nor duplicate.
        .set("enable.idempotence", "true")
        // A record that can't be delivered ends the producer instead of being skipped.
        .set("enable.gapless.guarantee", "true")
        // No record expires by itself, which would open a gap; the page's deadline decides.
        .set("message.timeout.ms", "0")
        // What Java clients compute; librdkafka's default would put keys elsewhere.
        .set("partitioner", "murmur2_random")
        // Wait this long for a fuller batch; the default 5 ms is most of the latency.
        .set("linger.ms", "1")
        // Small batches must not wait for the acknowledgement of the one before.
        .set("socket.nagle.disable", "true");
    config.create_with_context(Deliveries)
}

/// Hands every row to librdkafka, in order, and returns once each is acknowledged. There is no future and no allocation
/// of ours per record: librdkafka copies key and payload into its queue, and the reports are counted.
async fn publish(
    producer: &Producer,
    page: &Page,
    source: &str,
    scratch: &mut Scratch,
) -> Result<(), SinkError> {
    // One more than the rows, so that the page isn't complete before it is wholly sent.
    let report = Arc::new(Report {
        outstanding: AtomicUsize::new(page.len() + 1),
        failure: OnceLock::new(),
        changed: Notify::new(),
    });
    let mut spans: Vec<Span> = Vec::new();
    for (sent, row) in (1_usize..).zip(page.rows()) {
        spans.extend(publish_span(&row));
        if sent.is_multiple_of(ROWS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
        send(producer, &row, source, scratch, &report).await?;
    }
    report.outstanding.fetch_sub(1, Ordering::AcqRel);
    loop {
        if let Some(error) = report.failure.get() {
            return Err(SinkError::new(class(error), error.clone()));
        }
        if report.outstanding.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        report.changed.notified().await;
    }
}

async fn send(
    producer: &Producer,
    row: &Row<'_>,
    source: &str,
    scratch: &mut Scratch,
    report: &Arc<Report>,
) -> Result<(), SinkError> {
    let mut headers = Some(OwnedHeaders::new_with_capacity(12));
    row.envelope(source).write_headers(scratch, |key, value| {
        headers = headers.take().map(|headers| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
    });
    let mut record = Record::with_opaque_to(row.topic(), Arc::clone(report))
        .key(row.key())
        .payload(row.payload());
    record.headers = headers;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            // librdkafka's queue is bounded; it drains as acknowledgements come in.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                record = refused;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err((error, _)) => return Err(SinkError::new(class(&error), error)),
        }
    }
}

/// One look-up of the counter per topic, not per record.
fn count_sent(page: &Page) {
    let mut sent: HashMap<String, u64> = HashMap::new();
    for row in page.rows() {
        match sent.get_mut(row.topic()) {
            Some(count) => *count += 1,
            None => {
                sent.insert(row.topic().to_owned(), 1);
            }
        }
    }
    for (topic, count) in sent {
        metrics::counter!("messaging_client_sent_messages_total", "messaging_destination_name" => topic)
            .increment(count);
    }
}

/// A label for what went wrong: who has to act, and on what.
pub(crate) fn class(error: &KafkaError) -> &'static str {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            "oversized"
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication,
        ) => "unauthorised",
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => "unknown_topic",
        Some(
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut,
        ) => "broker_down",
        Some(Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend) => "not_enough_replicas",
        // What a broker says whose disk is full or broken, until it takes the log's folder offline.
        Some(Code::KafkaStorageError) => "storage",
        Some(Code::LeaderNotAvailable | Code::NotLeaderForPartition) => "no_leader",
        _ => "other",
    }
}

/// Counts a page's delivery reports.
pub(crate) struct Report {
    outstanding: AtomicUsize,
    failure: OnceLock<KafkaError>,
    changed: Notify,
}

/// Receives delivery reports on librdkafka's thread.
pub(crate) struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Report>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Arc<Report>) {
        if let Err((error, _)) = result {
            // The first failure is the cause; the rest of the page follows from it.
            let _ = report.failure.set(error.clone());
        }
        let last = report.outstanding.fetch_sub(1, Ordering::AcqRel) == 1;
        if last || result.is_err() {
            report.changed.notify_one();
        }
    }
}

/// A producer that is purged and ended when it is dropped, on a thread of its own, because that blocks.
struct Live {
    producer: Option<Producer>,
    /// What it was made with, and when that was last compared with what the files say.
    config: ClientConfig,
    compared: Instant,
}

impl Live {
    fn producer(&self) -> &Producer {
        self.producer.as_ref().expect("only drop takes it")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            std::thread::spawn(move || {
                producer.purge(PurgeConfig::default().queue().inflight());
                drop(producer);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_has_a_class_of_its_own() {
        use RDKafkaErrorCode as Code;
        for (code, expected) in [
            (Code::MessageSizeTooLarge, "oversized"),
            (Code::TopicAuthorizationFailed, "unauthorised"),
            (Code::Authentication, "unauthorised"),
            (Code::UnknownTopicOrPartition, "unknown_topic"),
            (Code::AllBrokersDown, "broker_down"),
            (Code::NotEnoughReplicas, "not_enough_replicas"),
            (Code::KafkaStorageError, "storage"),
            (Code::LeaderNotAvailable, "no_leader"),
            (Code::InvalidTimestamp, "other"),
        ] {
            assert_eq!(class(&KafkaError::MessageProduction(code)), expected, "{code:?}");
        }
    }
}
