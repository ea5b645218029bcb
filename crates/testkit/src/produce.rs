#![expect(
    clippy::disallowed_types,
    reason = "tests write what no outbox would: malformed, repeated and foreign records"
)]

use std::sync::OnceLock;

use kafka::KafkaArgs;
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::kafka::{CLIENT, LIMIT, kafka_args};

/// Writes one record and returns when the broker has it. `partition` is chosen from the key when it is `None`.
pub async fn produce(
    topic: &str,
    key: impl AsRef<[u8]>,
    headers: &[(&str, &[u8])],
    payload: impl AsRef<[u8]>,
    partition: Option<i32>,
) {
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(*value),
        })
    });
    let record = FutureRecord {
        topic,
        partition,
        payload: Some(payload.as_ref()),
        key: Some(key.as_ref()),
        timestamp: None,
        headers: Some(headers),
    };
    producer()
        .send(record, LIMIT)
        .await
        .unwrap_or_else(|(error, _)| panic!("cannot produce to {topic}: {error}"));
}

/// Tries to write one record as the user of `args`: for tests of what a user may do.
///
/// # Errors
/// What the broker answered, such as `TopicAuthorizationFailed`.
pub async fn produce_as(args: &KafkaArgs, topic: &str) -> KafkaResult<()> {
    let producer = producer_of(args)?;
    let record = FutureRecord::to(topic).key("test").payload("test");
    producer
        .send(record, LIMIT)
        .await
        .map(drop)
        .map_err(|(error, _)| error)
}

/// One for all tests of a run: connecting and authenticating for each record takes longer than most tests.
fn producer() -> &'static FutureProducer {
    static PRODUCER: OnceLock<FutureProducer> = OnceLock::new();
    PRODUCER.get_or_init(|| {
        producer_of(&kafka_args()).unwrap_or_else(|error| panic!("cannot make a producer: {error}"))
    })
}

fn producer_of(args: &KafkaArgs) -> KafkaResult<FutureProducer> {
    args.client(CLIENT)
        .unwrap_or_else(|error| panic!("{error}"))
        // Default 5 min: a test that cannot produce should say so before anyone gives up on it.
        .set("message.timeout.ms", LIMIT.as_millis().to_string())
        .create()
}
