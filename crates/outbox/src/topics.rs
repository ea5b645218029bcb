//! Whether the topics are what they were declared to be.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, ClientContext};

use crate::kafka::class::class;
use crate::sink::SinkError;

/// How long the brokers may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// A topic as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// Exactly: another number would put keys elsewhere, and with them their order.
    pub partitions: usize,
    /// At least.
    pub replication: usize,
    /// Each setting as the broker states it, such as `("retention.ms", "-1")`.
    pub settings: Vec<(String, String)>,
}

/// Asks the brokers for every topic and compares. Blocks for up to five seconds for each topic,
/// and five more.
///
/// `client` is the one that is going to publish: its context hears why a broker cannot be reached.
///
/// The error names the topic and how it differs, or tells why nobody could say: unauthorised, unknown, no leader, fewer
/// replicas in sync than a write needs, no broker.
pub(crate) fn check<C: ClientContext>(
    client: &Client<C>,
    config: &ClientConfig,
    topics: &[Topic],
) -> Result<(), SinkError> {
    if topics.is_empty() {
        return Ok(());
    }
    let failed = |error: KafkaError| SinkError::new(class(&error), error);
    for topic in topics {
        let metadata = client.fetch_metadata(Some(&topic.name), LIMIT).map_err(failed)?;
        let found = metadata
            .topics()
            .first()
            .context("no answer about the topic")
            .map_err(|error| SinkError::new("other", error))?;
        layout(topic, found)?;
    }
    let resources: Vec<_> = topics
        .iter()
        .map(|topic| ResourceSpecifier::Topic(&topic.name))
        .collect();
    // A client of its own, which nothing is told of: that the brokers can be reached is known by now.
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(failed)?;
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    let asked = admin.describe_configs(&resources, &options);
    // librdkafka's own thread completes it, within its time limit.
    let described = tokio::runtime::Handle::current()
        .block_on(asked.boxed())
        .map_err(failed)?;
    for (topic, described) in topics.iter().zip(described) {
        let described = described
            .map_err(|code| SinkError::new(class(&KafkaError::AdminOp(code)), KafkaError::AdminOp(code)))?;
        settings(topic, &described)?;
    }
    Ok(())
}

fn layout(topic: &Topic, found: &MetadataTopic) -> Result<(), SinkError> {
    let name = &topic.name;
    if let Some(error) = found.error() {
        let error = KafkaError::MetadataFetch(error.into());
        let class = class(&error);
        return Err(SinkError::new(
            class,
            anyhow::Error::new(error).context(format!("topic {name}")),
        ));
    }
    if found.partitions().len() != topic.partitions {
        return Err(differs(
            name,
            "partitions",
            found.partitions().len(),
            topic.partitions,
        ));
    }
    let in_sync_needed = topic
        .settings
        .iter()
        .find(|(setting, _)| setting == "min.insync.replicas")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(1);
    for partition in found.partitions() {
        let id = partition.id();
        if partition.replicas().len() < topic.replication {
            return Err(differs(
                name,
                "replicas",
                partition.replicas().len(),
                topic.replication,
            ));
        }
        if partition.leader() < 0 {
            return Err(SinkError::new(
                "no_leader",
                anyhow!("partition {id} of {name} has no leader"),
            ));
        }
        let in_sync = partition.isr().len();
        if in_sync < in_sync_needed {
            let why = anyhow!(
                "partition {id} of {name} has {in_sync} replicas in sync, a write needs {in_sync_needed}"
            );
            return Err(SinkError::new("not_enough_replicas", why));
        }
    }
    Ok(())
}

fn settings(topic: &Topic, described: &ConfigResource) -> Result<(), SinkError> {
    for (setting, declared) in &topic.settings {
        let found = described
            .get(setting)
            .and_then(|entry| entry.value.as_deref())
            .unwrap_or("unset");
        if found != declared {
            return Err(differs(&topic.name, setting, found, declared));
        }
    }
    Ok(())
}

fn differs(
    topic: &str,
    what: &str,
    found: impl std::fmt::Display,
    declared: impl std::fmt::Display,
) -> SinkError {
    let how =
        anyhow!("topic {topic} differs from its declaration: {what} is {found}, declared is {declared}");
    SinkError::new("topic_differs", how)
}
