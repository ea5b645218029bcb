//! The system's only producer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use envelope::Scratch;
use kafka::KafkaArgs;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{Producer as _, ProducerContext, PurgeConfig};
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
    producer: Producer,
    source: &'static str,
    scratch: Scratch,
}

impl KafkaSink {
    pub(crate) fn connect(args: &KafkaArgs, source: &'static str) -> anyhow::Result<KafkaSink> {
        let mut config = args.client(source);
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
        let producer = config
            .create_with_context(Deliveries)
            .context("can't create the Kafka producer")?;
        Ok(KafkaSink {
            producer,
            source,
            scratch: Scratch::default(),
        })
    }

    /// Publishes `rows` in order and returns once each is acknowledged. After an error this sink
    /// must be closed: records behind a failed one may have gone out, and only a new producer
    /// that starts again at the page's first row keeps first copies in order.
    pub(crate) async fn deliver(&mut self, rows: &[Row]) -> Result<(), DeliveryError> {
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

    /// Drops the producer with everything that it still holds. Dropping blocks, so it happens on
    /// a thread for blocking work.
    pub(crate) async fn close(self) {
        let closing = tokio::task::spawn_blocking(move || {
            self.producer.purge(PurgeConfig::default().queue().inflight());
            drop(self.producer);
        });
        if closing.await.is_err() {
            tracing::warn!("closing the Kafka producer panicked");
        }
    }
}
