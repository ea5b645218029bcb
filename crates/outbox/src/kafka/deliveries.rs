//! What a producer hears of its records, and of its brokers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use tokio::sync::Notify;

use crate::kafka::class::class;
use crate::sink::SinkError;

/// Counts a producer's delivery reports, on the thread that takes them.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// Records that were acknowledged since the last page was complete, and at how many the next one is.
    acknowledged: AtomicU64,
    awaited: AtomicU64,
    failure: OnceLock<KafkaError>,
    changed: Notify,
    /// What librdkafka last said of its connections since then. It goes on trying by itself, so that nothing fails for it; but
    /// where something is late, this is why.
    said: Mutex<Option<(KafkaError, String)>>,
}

impl Deliveries {
    /// Waits until so many records, all that were sent, are acknowledged.
    pub(crate) async fn acknowledged(&self, records: u64) -> Result<(), SinkError> {
        // Whichever of the two, this or the last report, comes second sees the other's number.
        self.awaited.store(records, Ordering::SeqCst);
        loop {
            if let Some(error) = self.failure.get() {
                return Err(SinkError::new(class(error), error.clone()));
            }
            if self.acknowledged.load(Ordering::SeqCst) == records {
                self.awaited.store(0, Ordering::SeqCst);
                self.acknowledged.store(0, Ordering::SeqCst);
                *self.said() = None;
                return Ok(());
            }
            self.changed.notified().await;
        }
    }

    /// What is late, or cannot be reached, with the reason that librdkafka gave, if it gave one.
    pub(crate) fn explain(&self, error: SinkError) -> SinkError {
        match self.said().as_ref() {
            Some((why, reason)) if ["deadline", "broker_down"].contains(&error.class()) => {
                SinkError::new(class(why), anyhow::anyhow!("{error}; {reason}"))
            }
            _ => error,
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Option<(KafkaError, String)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(reason, "Kafka cannot be reached as it should");
        let mut said = self.said();
        // That all brokers are down follows from what was wrong with the last of them.
        let known = said
            .as_ref()
            .is_some_and(|(known, _)| class(known) == "unauthorised");
        if !(known && class(&error) == "broker_down") {
            *said = Some((error, reason.to_owned()));
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            // The first failure is the cause; the rest of the page follows from it.
            let _ = self.failure.set(error.clone());
            self.changed.notify_one();
            return;
        }
        let acknowledged = self.acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
        if acknowledged == self.awaited.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }
}
