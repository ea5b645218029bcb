//! How a connection is made: to one Redis, or to all masters of a cluster.

use std::time::Duration;

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster::ClusterClient;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value, cmd,
};
use tokio::time::timeout;

use crate::args::{CacheArgs, Redis, Target, Topology, Unusable};
use crate::clock::Clock;

/// To connect, authenticate and have a first answer.
const CONNECT_LIMIT: Duration = Duration::from_millis(250);
/// For a cluster, whose map is asked for first, and whose nodes are then connected to at once.
const CLUSTER_CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Commands that wait to be written; a caller beyond that waits within its own limit.
const QUEUE: usize = 256;
/// How often a cluster's client follows a redirection, or asks for the map again, within a command's limit.
const CLUSTER_RETRIES: u32 = 3;

/// Makes connections, each with the URL and the files as they are then.
#[derive(Clone)]
pub(crate) struct Dialer {
    redis: Redis,
    command_limit: Duration,
}

/// A shared connection, cheap to clone.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Dialer {
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn new(args: &CacheArgs) -> Result<Dialer, Unusable> {
        args.redis.read()?;
        Ok(Dialer {
            redis: args.redis.clone(),
            command_limit: args.redis_command_timeout,
        })
    }

    pub(crate) fn command_limit(&self) -> Duration {
        self.command_limit
    }

    /// For the connections that this makes. None of their replies is older than the longest wait for one.
    pub(crate) fn clock(&self) -> Clock {
        Clock::new(CLUSTER_CONNECT_LIMIT.max(self.command_limit))
    }

    /// Connects, and learns the time. The kernel accepts connections for a process that hangs; only an answer shows that
    /// it lives.
    pub(crate) async fn dial(&self, clock: &Clock) -> Result<Connection, RedisError> {
        let target = self.redis.read().map_err(|error| {
            RedisError::from((
                ErrorKind::InvalidClientConfig,
                "unusable settings",
                error.to_string(),
            ))
        })?;
        let limit = match &target.topology {
            Topology::Single(_) => CONNECT_LIMIT,
            Topology::Cluster(_) => CLUSTER_CONNECT_LIMIT,
        };
        let limit = limit.max(self.command_limit);
        timeout(limit, async {
            let mut connection = self.connect(target, limit).await?;
            let (seconds, micros): (u64, u64) = cmd("TIME").query_async(&mut connection).await?;
            clock.learn(seconds * 1000 + micros / 1000);
            Ok(connection)
        })
        .await
        .unwrap_or_else(|_| Err((ErrorKind::Io, "no answer within the time to connect").into()))
    }

    async fn connect(&self, target: Target, limit: Duration) -> Result<Connection, RedisError> {
        match target.topology {
            Topology::Single(node) => {
                let node = *node;
                let client = match target.certificates {
                    Some(certificates) => Client::build_with_tls(node, certificates)?,
                    None => Client::open(node)?,
                };
                // The limit of a command is the caller's, who can tell Redis's slowness from its own.
                let settings = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(limit))
                    .set_response_timeout(None)
                    .set_pipeline_buffer_size(QUEUE);
                let connection = client.get_multiplexed_async_connection_with_config(&settings);
                Ok(Connection::Single(connection.await?))
            }
            Topology::Cluster(nodes) => {
                let mut client = ClusterClient::builder(nodes)
                    .connection_timeout(CONNECT_LIMIT)
                    .response_timeout(self.command_limit)
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(1)
                    .max_retry_wait(10);
                if let Some(certificates) = target.certificates {
                    client = client.certs(certificates);
                }
                Ok(Connection::Cluster(client.build()?.get_async_connection().await?))
            }
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(command),
            Connection::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
