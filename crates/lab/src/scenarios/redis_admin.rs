//! Redis as its administrator sees it.

use std::time::Duration;

use anyhow::Context as _;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Client, FromRedisValue, cmd};
use tokio::time::timeout;

const ANSWER: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct RedisAdmin(Client);

impl RedisAdmin {
    pub(crate) fn at(url: &str) -> anyhow::Result<RedisAdmin> {
        Ok(RedisAdmin(Client::open(url)?))
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        let connecting = timeout(ANSWER, self.0.get_multiplexed_async_connection());
        connecting
            .await
            .context("connecting to Redis took too long")?
            .context("cannot connect to Redis")
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> anyhow::Result<T> {
        let mut connection = self.connect().await?;
        let (name, arguments) = command.split_first().context("a command has a name")?;
        let mut asked = cmd(name);
        asked.arg(arguments);
        let answer = timeout(ANSWER, asked.query_async(&mut connection));
        answer
            .await
            .with_context(|| format!("Redis did not answer {name}"))?
            .with_context(|| format!("Redis refused {name}"))
    }

    pub(crate) async fn set(&self, setting: &str, value: &str) -> anyhow::Result<()> {
        self.ask(&["CONFIG", "SET", setting, value]).await
    }

    /// A number of INFO, such as `used_memory`.
    pub(crate) async fn info(&self, name: &str) -> anyhow::Result<u64> {
        let info: String = self.ask(&["INFO"]).await?;
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.with_context(|| format!("INFO has no {name}"))?;
        Ok(value.trim().parse()?)
    }
}
