//! A relay that retries the record that failed, on the producer that went on after it.
#![expect(
    clippy::disallowed_types,
    reason = "a wrong relay has to be able to do what the right one does"
)]

use std::time::Duration;

use envelope::{Envelope, Fact, Scratch};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) struct Retrying {
    producer: FutureProducer,
}

impl Retrying {
    pub(crate) fn new() -> Retrying {
        let producer = testkit::kafka_args()
            .client("outbox-test")
            .unwrap()
            .create()
            .unwrap();
        Retrying { producer }
    }

    /// Sends one by one and returns those that failed.
    pub(crate) async fn send<'f>(&self, facts: &'f [Fact]) -> Vec<&'f Fact> {
        let mut failed = Vec::new();
        for fact in facts {
            let envelope = Envelope {
                id: Uuid::now_v7(),
                source: "outbox-test",
                kind: fact.kind,
                schema_version: fact.schema_version,
                aggregate_type: fact.aggregate_type,
                aggregate_id: fact.aggregate_id,
                aggregate_version: fact.aggregate_version,
                actor: "system:test",
                time: OffsetDateTime::now_utc(),
                traceparent: None,
            };
            let mut headers = OwnedHeaders::new();
            envelope.write_headers(&mut Scratch::default(), |key, value| {
                let so_far = std::mem::replace(&mut headers, OwnedHeaders::new());
                headers = so_far.insert(Header {
                    key,
                    value: Some(value),
                });
            });
            let key = fact.aggregate_id.to_string();
            let record = FutureRecord::to(fact.topic)
                .key(&key)
                .payload(&fact.payload)
                .headers(headers);
            if self.producer.send(record, Duration::from_secs(10)).await.is_err() {
                failed.push(fact);
            }
        }
        failed
    }
}
