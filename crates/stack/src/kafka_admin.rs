//! Kafka's administration over the wire: topics, ACLs and lag, without starting a JVM for each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use events::topics::Topic;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateAclsRequest, CreateAclsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteAclsRequest, DeleteAclsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest,
    OffsetFetchResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::architecture::{Acl, Operation, Resource};
use crate::kafka::Kafka;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Answers are small; more than this is not Kafka.
const MAX_ANSWER: usize = 16 << 20;

/// The end offset of each partition of each topic.
pub(crate) type Ends = BTreeMap<String, BTreeMap<i32, i64>>;

/// A connection as the super user. The local broker is one node, so it is the leader and the coordinator of
/// everything.
pub(crate) struct KafkaAdmin {
    stream: TcpStream,
    correlation: i32,
}

impl KafkaAdmin {
    pub(crate) async fn connect(kafka: &Kafka) -> anyhow::Result<KafkaAdmin> {
        let address = kafka.bootstrap.split(',').next().unwrap_or_default();
        let stream = timeout(LIMIT, TcpStream::connect(address))
            .await
            .context("connecting took too long")??;
        stream.set_nodelay(true)?;
        let mut admin = KafkaAdmin {
            stream,
            correlation: 0,
        };
        if let Some(login) = &kafka.admin {
            let handshake =
                SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
            let answer: SaslHandshakeResponse = admin.call(ApiKey::SaslHandshake, 1, &handshake).await?;
            check(answer.error_code)?;
            let token = format!("\0{}\0{}", login.user, login.password);
            let authenticate =
                SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(token.into_bytes()));
            let answer: SaslAuthenticateResponse =
                admin.call(ApiKey::SaslAuthenticate, 2, &authenticate).await?;
            check(answer.error_code)?;
        }
        Ok(admin)
    }

    /// Whether the broker is registered and leads every partition that it has.
    pub(crate) async fn is_up(&mut self) -> anyhow::Result<bool> {
        let request = MetadataRequest::default().with_topics(None);
        let metadata: MetadataResponse = self.call(ApiKey::Metadata, 12, &request).await?;
        let mut partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(!metadata.brokers.is_empty() && partitions.all(|partition| partition.error_code == 0))
    }

    /// Makes the topics that do not exist yet, with one replica each.
    pub(crate) async fn create_topics(&mut self, topics: &[Topic]) -> anyhow::Result<()> {
        let topics = topics.iter().map(|topic| {
            let settings = topic.settings.iter().map(|(name, value)| {
                let value = StrBytes::from_static_str(value);
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_value(Some(value))
            });
            CreatableTopic::default()
                .with_name(topic_name(topic.name))
                .with_num_partitions(topic.partitions)
                .with_replication_factor(1)
                .with_configs(settings.collect())
        });
        let request = CreateTopicsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(10_000);
        let made: CreateTopicsResponse = self.call(ApiKey::CreateTopics, 7, &request).await?;
        for topic in made.topics {
            match ResponseError::try_from_code(topic.error_code) {
                None | Some(ResponseError::TopicAlreadyExists) => {}
                Some(error) => bail!("cannot make the topic {}: {error}", &*topic.name.0),
            }
        }
        Ok(())
    }

    /// Makes `acls` the only ones. A broker without an authorizer is left as it is.
    pub(crate) async fn set_acls(&mut self, acls: &[Acl]) -> anyhow::Result<()> {
        // 1 means any: an arrow that the architecture no longer has must not live on in the broker.
        let every = DeleteAclsFilter::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(1)
            .with_operation(1)
            .with_permission_type(1);
        let request = DeleteAclsRequest::default().with_filters(vec![every]);
        let deleted: DeleteAclsResponse = self.call(ApiKey::DeleteAcls, 3, &request).await?;
        for result in deleted.filter_results {
            match ResponseError::try_from_code(result.error_code) {
                Some(ResponseError::SecurityDisabled) => return Ok(()),
                Some(error) => bail!("cannot remove old ACLs: {error}"),
                None => {}
            }
        }
        let request = CreateAclsRequest::default().with_creations(acls.iter().map(creation).collect());
        let created: CreateAclsResponse = self.call(ApiKey::CreateAcls, 3, &request).await?;
        for result in created.results {
            check(result.error_code).context("cannot make an ACL")?;
        }
        Ok(())
    }

    /// Has the broker make its internal topic of offsets, which it does only when the first group asks, and
    /// slowly.
    pub(crate) async fn prepare_groups(&mut self, groups: &[&str]) -> anyhow::Result<()> {
        self.patiently(async |admin| admin.find_coordinators(groups).await)
            .await
    }

    async fn find_coordinators(&mut self, groups: &[&str]) -> anyhow::Result<()> {
        let keys = groups
            .iter()
            .map(|group| StrBytes::from_string((*group).to_owned()));
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys.collect());
        let found: FindCoordinatorResponse = self.call(ApiKey::FindCoordinator, 4, &request).await?;
        for coordinator in found.coordinators {
            check(coordinator.error_code).context("a group has no coordinator")?;
        }
        Ok(())
    }

    /// The topics that exist, with the end offset of each partition.
    pub(crate) async fn ends(&mut self, topics: &[&str]) -> anyhow::Result<Ends> {
        self.patiently(async |admin| admin.try_ends(topics).await).await
    }

    async fn try_ends(&mut self, topics: &[&str]) -> anyhow::Result<Ends> {
        let wanted = topics
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request = MetadataRequest::default().with_topics(Some(wanted.collect()));
        let described: MetadataResponse = self.call(ApiKey::Metadata, 12, &request).await?;
        let existing = described
            .topics
            .into_iter()
            .filter(|topic| topic.error_code == 0)
            .map(|topic| {
                // -1 asks for the end of the log.
                let partition = |index| {
                    ListOffsetsPartition::default()
                        .with_partition_index(index)
                        .with_timestamp(-1)
                };
                let partitions = topic
                    .partitions
                    .iter()
                    .map(|each| partition(each.partition_index))
                    .collect();
                ListOffsetsTopic::default()
                    .with_name(topic.name.unwrap_or_default())
                    .with_partitions(partitions)
            });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(existing.collect())
            .with_timeout_ms(5_000);
        let listed: ListOffsetsResponse = self.call(ApiKey::ListOffsets, 7, &request).await?;
        let mut ends = Ends::new();
        for topic in listed.topics {
            let partitions = ends.entry(topic.name.0.to_string()).or_default();
            for partition in topic.partitions {
                check(partition.error_code).context("cannot read the end of a partition")?;
                partitions.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(ends)
    }

    /// How many records of each topic the group has not committed yet. Partitions without a commit count
    /// whole.
    pub(crate) async fn lag(&mut self, group: &str, ends: &Ends) -> anyhow::Result<BTreeMap<String, i64>> {
        self.patiently(async |admin| {
            admin.find_coordinators(&[group]).await?;
            admin.try_lag(group, ends).await
        })
        .await
    }

    async fn try_lag(&mut self, group: &str, ends: &Ends) -> anyhow::Result<BTreeMap<String, i64>> {
        let topics = ends.iter().map(|(name, partitions)| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions.keys().copied().collect())
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_topics(Some(topics.collect()));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let fetched: OffsetFetchResponse = self.call(ApiKey::OffsetFetch, 8, &request).await?;
        let mut lag = BTreeMap::new();
        for group in fetched.groups {
            check(group.error_code).context("cannot read a group's offsets")?;
            for topic in group.topics {
                let ends = ends
                    .get(&*topic.name.0)
                    .context("Kafka answered for another topic")?;
                let behind = topic.partitions.iter().map(|partition| {
                    let end = ends.get(&partition.partition_index).copied().unwrap_or(0);
                    end - partition.committed_offset.max(0)
                });
                lag.insert(topic.name.0.to_string(), behind.sum());
            }
        }
        Ok(lag)
    }

    /// Asks again while the broker says that something is being elected or loaded.
    async fn patiently<T>(
        &mut self,
        ask: impl AsyncFn(&mut KafkaAdmin) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = ask(self).await;
            let error = answer
                .as_ref()
                .err()
                .and_then(|error| error.downcast_ref::<ResponseError>());
            if error.is_none_or(|error| !error.is_retriable()) || Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One request and its answer, whose type the caller names. (The crate's own pairing of the two types
    /// needs its broker half.)
    async fn call<Q, A>(&mut self, key: ApiKey, version: i16, request: &Q) -> anyhow::Result<A>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("stack")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, Q::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = i32::try_from(frame.len() - 4).context("the request is too long")?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let answer = timeout(LIMIT, exchange(&mut self.stream, &frame)).await;
        let mut answer = answer
            .context("Kafka did not answer in 10 s")?
            .context("the connection to Kafka broke")?;
        let header = ResponseHeader::decode(&mut answer, A::header_version(version))?;
        ensure!(
            header.correlation_id == self.correlation,
            "Kafka answered another request"
        );
        A::decode(&mut answer, version)
    }
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> anyhow::Result<Bytes> {
    stream.write_all(frame).await?;
    let mut length = [0_u8; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(Bytes::copy_from_slice(&length).get_i32())?;
    ensure!(length <= MAX_ANSWER, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(Bytes::from(answer))
}

fn check(code: i16) -> anyhow::Result<()> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(anyhow::Error::new(error)),
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// The numbers are the protocol's.
fn creation(acl: &Acl) -> AclCreation {
    let (resource_type, name) = match &acl.resource {
        Resource::Topic(name) => (2, name),
        Resource::Group(name) => (3, name),
    };
    let operation = match acl.operation {
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Describe => 8,
        Operation::DescribeConfigs => 10,
    };
    AclCreation::default()
        .with_resource_type(resource_type)
        .with_resource_name(StrBytes::from_string(name.clone()))
        // Literal: this very name, no prefix.
        .with_resource_pattern_type(3)
        .with_principal(StrBytes::from_string(format!("User:{}", acl.user)))
        .with_host(StrBytes::from_static_str("*"))
        .with_operation(operation)
        // Allow.
        .with_permission_type(3)
}
