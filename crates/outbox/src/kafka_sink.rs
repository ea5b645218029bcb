//! The system's only producer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use envelope::Scratch;
use kafka::KafkaArgs;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::Notify;
use tracing::Span;

use crate::trace::publish_span;
use crate::window::Row;

#[expect(
    clippy::disallowed_types,
    reason = "what is published here is a committed row, which is what the rule protects"
)]
mod allowed {
    pub(super) type Producer = rdkafka::producer::ThreadedProducer<super::Deliveries>;
    pub(super) type Record<'a> = rdkafka::producer::BaseRecord<'a, [u8], [u8], std::sync::Arc<super::Report>>;
}
use allowed::{Producer, Record};

/// How long a page may take until every record of it is acknowledged. Then the producer is given
/// up: librdkafka itself retries for ever.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(10);

/// How often the secrets' files are looked at, while there is something to publish.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

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

/// Why a page was not delivered. Whatever it is, the whole page is delivered again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("no acknowledgement of a page within {DELIVERY_DEADLINE:?}")]
    Deadline,
}

pub(crate) struct KafkaSink {
    args: KafkaArgs,
    producer: Producer,
    /// What the producer was made with, and when that was last compared with what the files say.
    config: ClientConfig,
    compared: Instant,
    source: &'static str,
    scratch: Scratch,
}

impl KafkaSink {
    pub(crate) fn connect(args: &KafkaArgs, source: &'static str) -> anyhow::Result<KafkaSink> {
        let config = configure(args, source)?;
        Ok(KafkaSink {
            args: args.clone(),
            producer: make(&config)?,
            config,
            compared: Instant::now(),
            source,
            scratch: Scratch::default(),
        })
    }

    /// librdkafka keeps the password and the certificates that it was made with. Between two pages nothing is outstanding, so another
    /// producer can take over there without a fact out of order.
    async fn follow_rotation(&mut self) {
        if self.compared.elapsed() < COMPARE_EVERY {
            return;
        }
        self.compared = Instant::now();
        let changed = match configure(&self.args, self.source) {
            Ok(config) if kafka::same_secrets(&config, &self.config) => return,
            Ok(config) => make(&config).map(|producer| (config, producer)),
            Err(error) => Err(error.into()),
        };
        match changed {
            Ok((config, producer)) => {
                tracing::info!(
                    "a password or certificate for Kafka was rotated: publishing with the new one"
                );
                self.config = config;
                close(std::mem::replace(&mut self.producer, producer)).await;
            }
            // The old producer's connections are good; should they end, the page's deadline does the rest.
            Err(error) => {
                tracing::warn!(%error, "a password or certificate for Kafka was rotated, but cannot be used")
            }
        }
    }

    /// Publishes `rows` in order and returns once each is acknowledged. After an error this sink
    /// must be closed: records behind a failed one may have gone out, and only a new producer
    /// that starts again at the page's first row keeps first copies in order.
    pub(crate) async fn deliver(&mut self, rows: &[Row]) -> Result<(), DeliveryError> {
        self.follow_rotation().await;
        // One more than the rows, so that the page isn't complete before it is wholly sent.
        let report = Arc::new(Report {
            outstanding: AtomicUsize::new(rows.len() + 1),
            failure: OnceLock::new(),
            changed: Notify::new(),
        });
        let spans: Vec<Span> = rows.iter().map(publish_span).collect();
        let delivered = tokio::time::timeout(DELIVERY_DEADLINE, async {
            for row in rows {
                self.send(row, &report).await?;
            }
            report.outstanding.fetch_sub(1, Ordering::AcqRel);
            loop {
                if let Some(error) = report.failure.get() {
                    return Err(error.clone().into());
                }
                if report.outstanding.load(Ordering::Acquire) == 0 {
                    return Ok(());
                }
                report.changed.notified().await;
            }
        });
        let delivered = delivered.await.unwrap_or(Err(DeliveryError::Deadline));
        drop(spans);
        for row in rows.iter().filter(|_| delivered.is_ok()) {
            metrics::counter!("messaging_client_sent_messages_total", "messaging_destination_name" => row.topic.clone())
                .increment(1);
        }
        delivered
    }

    async fn send(&mut self, row: &Row, report: &Arc<Report>) -> Result<(), DeliveryError> {
        let mut headers = OwnedHeaders::new_with_capacity(12);
        row.envelope(self.source)
            .write_headers(&mut self.scratch, |key, value| {
                let so_far = std::mem::replace(&mut headers, OwnedHeaders::new_with_capacity(0));
                headers = so_far.insert(Header {
                    key,
                    value: Some(value),
                });
            });
        let mut record = Record::with_opaque_to(&row.topic, Arc::clone(report))
            .key(row.key.as_slice())
            .payload(row.payload.as_slice())
            .headers(headers);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                // librdkafka's queue is bounded; it drains as acknowledgements come in.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Drops the producer with everything that it still holds.
    pub(crate) async fn close(self) {
        close(self.producer).await;
    }
}

fn configure(args: &KafkaArgs, source: &str) -> Result<ClientConfig, kafka::Unusable> {
    let mut config = args.client(source)?;
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
        .set("linger.ms", "1");
    Ok(config)
}

fn make(config: &ClientConfig) -> anyhow::Result<Producer> {
    config
        .create_with_context(Deliveries)
        .context("can't create the Kafka producer")
}

/// Dropping blocks, so it happens on a thread for blocking work.
async fn close(producer: Producer) {
    let closing = tokio::task::spawn_blocking(move || {
        producer.purge(PurgeConfig::default().queue().inflight());
        drop(producer);
    });
    if closing.await.is_err() {
        tracing::warn!("closing the Kafka producer panicked");
    }
}
