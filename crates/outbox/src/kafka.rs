//! The system's only producer.

pub(crate) mod class;
mod deliveries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use envelope::Scratch;
use kafka::KafkaArgs;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{Producer as _, PurgeConfig};
use tracing::Span;

use crate::kafka::class::class;
use crate::kafka::deliveries::Deliveries;
use crate::page::{Page, Row};
use crate::sink::{Identity, Sink, SinkError};
use crate::topics::{self, Topic};
use crate::trace::publish_span;

#[expect(
    clippy::disallowed_types,
    reason = "what is published here is a committed row, which is what the rule protects"
)]
mod allowed {
    pub(super) type Producer = rdkafka::producer::BaseProducer<super::Deliveries>;
    pub(super) type Record<'a> = rdkafka::producer::BaseRecord<'a, [u8], [u8]>;
}
use allowed::{Producer, Record};

/// How often the secrets' files are looked at, while there is something to publish.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// How long the thread that takes delivery reports waits for one. It is woken by each; but at the end of its patience
/// rdkafka spins for the rest of a millisecond, which is why its own thread, with 100 ms, needs 1 % of a core.
const REPORTS: Duration = Duration::from_secs(2);

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
            let producer = producer(config.clone()).map_err(|error| SinkError::new(class(&error), error))?;
            let live = Live::start(producer, config).map_err(|error| SinkError::new("other", error))?;
            topics::check(live.producer.client(), &live.config, &args.topics)
                .map_err(|error| live.explain(error))?;
            Ok(live)
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

    /// Connects, if need be: a topic that differs from its declaration is told of before the first fact needs it.
    async fn identity(&mut self) -> Result<Identity, SinkError> {
        if self.live.is_none() {
            self.live = Some(self.connect().await?);
        }
        Ok(Identity::default())
    }

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
        let publishing = publish(&live.producer, page, self.args.source, &mut self.scratch);
        let published = match tokio::time::timeout(self.args.deadline, publishing).await {
            Ok(published) => published,
            Err(_) => {
                let late = anyhow::anyhow!("not acknowledged within {:?}", self.args.deadline);
                Err(SinkError::new("deadline", late))
            }
        };
        let sent = published.map_err(|error| live.explain(error))?;
        sent.count();
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
    config.create_with_context(Deliveries::default())
}

/// Hands every row to librdkafka, in order, and returns once each is acknowledged. There is no future and no allocation
/// of ours per record: librdkafka copies key and payload into its queue, and the reports are counted.
async fn publish(
    producer: &Producer,
    page: &Page,
    source: &str,
    scratch: &mut Scratch,
) -> Result<Sent, SinkError> {
    let mut sent = Sent::default();
    let mut spans: Vec<Span> = Vec::new();
    for (number, row) in (1_usize..).zip(page.rows()) {
        spans.extend(publish_span(&row));
        if number.is_multiple_of(ROWS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
        send(producer, &row, source, scratch).await?;
        sent.add(row.topic());
    }
    producer.context().acknowledged(page.len() as u64).await?;
    Ok(sent)
}

async fn send(
    producer: &Producer,
    row: &Row<'_>,
    source: &str,
    scratch: &mut Scratch,
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
    let mut record = Record::to(row.topic()).key(row.key()).payload(row.payload());
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

/// Records of a page by topic: the counters are looked up once a page, not once a record.
#[derive(Default)]
struct Sent(Vec<(String, u64)>);

impl Sent {
    fn add(&mut self, topic: &str) {
        match self.0.iter_mut().find(|(known, _)| known == topic) {
            Some((_, records)) => *records += 1,
            None => self.0.push((topic.to_owned(), 1)),
        }
    }

    fn count(self) {
        for (topic, records) in self.0 {
            metrics::counter!("messaging_client_sent_messages_total", "messaging_destination_name" => topic)
                .increment(records);
        }
    }
}

/// A producer, with a thread that takes its delivery reports. When it is dropped, whatever it still holds is purged.
struct Live {
    producer: Arc<Producer>,
    dropped: Arc<AtomicBool>,
    /// What it was made with, and when that was last compared with what the files say.
    config: ClientConfig,
    compared: Instant,
}

impl Live {
    fn start(producer: Producer, config: ClientConfig) -> std::io::Result<Live> {
        let producer = Arc::new(producer);
        let dropped = Arc::new(AtomicBool::new(false));
        let (polled, ended) = (Arc::clone(&producer), Arc::clone(&dropped));
        // It outlives this by REPORTS, and the producer ends with it, because that blocks.
        std::thread::Builder::new()
            .name("kafka reports".to_owned())
            .spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    polled.poll(REPORTS);
                }
            })?;
        Ok(Live {
            producer,
            dropped,
            config,
            compared: Instant::now(),
        })
    }
}

impl Live {
    /// `error`, or what librdkafka knows to be behind it: that it gave up by itself, or why a broker cannot be reached.
    fn explain(&self, error: SinkError) -> SinkError {
        // A record that was refused says more than that librdkafka gave up because of it.
        if ["other", "deadline"].contains(&error.class())
            && let Some((code, reason)) = self.producer.client().fatal_error()
        {
            let class = class(&KafkaError::MessageProduction(code));
            return SinkError::new(class, anyhow::anyhow!("{error}; {reason}"));
        }
        self.producer.context().explain(error)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        let producer = Arc::clone(&self.producer);
        // Purging waits for librdkafka's threads.
        std::thread::spawn(move || producer.purge(PurgeConfig::default().queue().inflight()));
    }
}
