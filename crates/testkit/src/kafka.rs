use std::time::Duration;

use kafka::KafkaArgs;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use settings::Secret;
use tls::ClientArgs;
use uuid::Uuid;

use crate::{address, eventually};

pub(crate) const CLIENT: &str = "test";
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A user of the test broker that may do everything.
pub fn kafka_args() -> KafkaArgs {
    KafkaArgs {
        bootstrap_servers: address("PLUMBLINE_TEST_KAFKA"),
        security_protocol: "SASL_PLAINTEXT".to_owned(),
        sasl_mechanism: Some("PLAIN".to_owned()),
        sasl_username: Some(address("PLUMBLINE_TEST_KAFKA_USER")),
        sasl_password: Some(Secret::of(address("PLUMBLINE_TEST_KAFKA_PASSWORD"))),
        tls: ClientArgs::default(),
    }
}

/// Creates a topic and returns its name, which begins with `prefix`; every partition has its leader.
pub async fn topic(prefix: &str, partitions: i32) -> String {
    topic_as(&kafka_args(), prefix, partitions).await
}

/// Like [`topic`], on another broker.
pub async fn topic_as(args: &KafkaArgs, prefix: &str, partitions: i32) -> String {
    let name = format!("{prefix}-{}", Uuid::now_v7().simple());
    let admin: AdminClient<DefaultClientContext> = args
        .client(CLIENT)
        .expect("no file is read")
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
