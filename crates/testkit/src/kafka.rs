use std::sync::OnceLock;
use std::time::Duration;

use kafka::KafkaArgs;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, OwnedHeaders};
#[expect(
    clippy::disallowed_types,
    reason = "tests write what no outbox would: malformed, repeated and foreign records"
)]
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

use crate::{address, eventually};

const CLIENT: &str = "test";
const LIMIT: Duration = Duration::from_secs(30);

/// A user of the test broker that may do everything.
pub fn kafka_args() -> KafkaArgs {
    KafkaArgs {
        bootstrap_servers: address("PLUMBLINE_TEST_KAFKA"),
        security_protocol: "SASL_PLAINTEXT".to_owned(),
        sasl_mechanism: Some("PLAIN".to_owned()),
        sasl_username: Some(address("PLUMBLINE_TEST_KAFKA_USER")),
        sasl_password: Some(address("PLUMBLINE_TEST_KAFKA_PASSWORD")),
    }
}

/// Creates a topic and returns its name, which begins with `prefix`; every partition has its leader.
pub async fn topic(prefix: &str, partitions: i32) -> String {
    let name = format!("{prefix}-{}", Uuid::now_v7().simple());
    let admin: AdminClient<DefaultClientContext> = kafka_args()
        .client(CLIENT)
        .create()
        .unwrap_or_else(|error| panic!("cannot make an admin client: {error}"));
    let wanted = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new()
        .request_timeout(Some(LIMIT))
        .operation_timeout(Some(LIMIT));
    let results = admin
        .create_topics([&wanted], &options)
        .await
        .unwrap_or_else(|error| panic!("cannot create {name}: {error}"));
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("cannot create {topic}: {error}"));
    }
    // The controller answers before each broker knows.
    eventually(&format!("{name} has its leaders"), async || {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(&name), Duration::from_secs(1))
            .ok()?;
        let led = metadata
            .topics()
            .first()?
            .partitions()
            .iter()
            .filter(|partition| partition.leader() >= 0);
        (led.count() == usize::try_from(partitions).ok()?).then_some(())
    })
    .await;
    name
}

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
#[expect(clippy::disallowed_types, reason = "see the import")]
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
#[expect(clippy::disallowed_types, reason = "see the import")]
fn producer() -> &'static FutureProducer {
    static PRODUCER: OnceLock<FutureProducer> = OnceLock::new();
    PRODUCER.get_or_init(|| {
        producer_of(&kafka_args()).unwrap_or_else(|error| panic!("cannot make a producer: {error}"))
    })
}

#[expect(clippy::disallowed_types, reason = "see the import")]
fn producer_of(args: &KafkaArgs) -> KafkaResult<FutureProducer> {
    args.client(CLIENT)
        // Default 5 min: a test that cannot produce should say so before anyone gives up on it.
        .set("message.timeout.ms", LIMIT.as_millis().to_string())
        .create()
}
