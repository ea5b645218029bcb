//! Rows whose loads take as long as they are told, and leave a line each in a log that all processes share.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use cache::{LoadError, Loaded, Source};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncTypedCommands as _, Client, Script};

/// About what a product is.
const BODY_BYTES: usize = 1024;

/// How long what a run left in Redis stays there, in seconds.
const KEPT: i64 = 60;

/// A load that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// All loads of a run count from 1, in the order in which they began.
    pub(super) number: u64,
    pub(super) key: u32,
    pub(super) process: usize,
    /// The row's version when the load began.
    pub(super) version: i64,
    /// Redis time, ms.
    pub(super) at: u64,
}

/// The rows of one run and the log of their loads, in Redis: beside the cache, and with a connection of its own.
#[derive(Clone)]
pub(super) struct Shelf {
    redis: MultiplexedConnection,
    begin: Script,
    log: String,
    versions: String,
}

impl Shelf {
    pub(super) async fn open(redis: &str, run: &str) -> anyhow::Result<Shelf> {
        let client = Client::open(redis).context("this is no URL of a Redis")?;
        let redis = client.get_multiplexed_async_connection().await;
        Ok(Shelf {
            redis: redis.context("cannot connect to Redis")?,
            begin: Script::new(include_str!("begin.lua")),
            log: format!("lab:{run}:log"),
            versions: format!("lab:{run}:versions"),
        })
    }

    /// Rows 0 to `keys`, each in its first version.
    pub(super) async fn fill(&self, keys: u32) -> anyhow::Result<()> {
        let rows: Vec<(u32, i64)> = (0..keys).map(|key| (key, 1)).collect();
        Ok(self.redis.clone().hset_multiple(&self.versions, &rows).await?)
    }

    /// Commits the next version of a row, and returns it.
    pub(super) async fn commit(&self, key: u32) -> anyhow::Result<i64> {
        let version = self.redis.clone().hincr(&self.versions, key, 1).await?;
        Ok(version as i64)
    }

    /// The loads after the first `known` of them.
    pub(super) async fn loads(&self, known: usize) -> anyhow::Result<Vec<Load>> {
        let lines = self
            .redis
            .clone()
            .lrange(&self.log, known.cast_signed(), -1)
            .await?;
        let numbered = lines.iter().zip(known as u64 + 1..);
        numbered.map(|(line, number)| parse(line, number)).collect()
    }

    /// Leaves it to Redis to forget the run.
    pub(super) async fn abandon(&self) -> anyhow::Result<()> {
        let mut redis = self.redis.clone();
        redis.expire(&self.log, KEPT).await?;
        redis.expire(&self.versions, KEPT).await?;
        Ok(())
    }

    /// Loads a row by `process`: what is committed when it begins, after `takes`.
    pub(super) async fn load(&self, key: u32, process: usize, takes: Duration) -> anyhow::Result<Loaded> {
        let mut begin = self.begin.key(&self.log);
        begin.key(&self.versions).arg(key).arg(process);
        let (number, version): (u64, i64) = begin.invoke_async(&mut self.redis.clone()).await?;
        tokio::time::sleep(takes).await;
        Ok(Loaded {
            version: version.try_into()?,
            mark: 0,
            body: body(number),
        })
    }
}

fn parse(line: &str, number: u64) -> anyhow::Result<Load> {
    let mut fields = line.split(' ');
    let mut field = || fields.next().context("a line of the log is too short");
    Ok(Load {
        number,
        key: field()?.parse()?,
        process: field()?.parse()?,
        version: field()?.parse()?,
        at: field()?.parse()?,
    })
}

/// It begins with the number of the load that made it.
fn body(number: u64) -> Bytes {
    let mut body = BytesMut::zeroed(BODY_BYTES);
    (&mut body[..8]).put_u64(number);
    body.freeze()
}

/// The number of the load that made `body`.
pub(super) fn number(body: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*body.first_chunk()?))
}

/// The rows as the cache loads them.
pub(super) struct Rows {
    pub(super) shelf: Shelf,
    pub(super) process: usize,
    pub(super) takes: Duration,
}

impl Source for Rows {
    const NAMESPACE: &'static str = "stampede";
    const SCHEMA: u16 = 1;
    type Key = u32;

    async fn load(&self, key: &u32) -> Result<Option<Loaded>, LoadError> {
        self.shelf.load(*key, self.process, self.takes).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read_back() {
        let load = Load {
            number: 7,
            key: 3,
            process: 2,
            version: 5,
            at: 1_700_000_000_000,
        };
        assert_eq!(parse("3 2 5 1700000000000", 7).unwrap(), load);
        assert!(parse("3 2", 1).is_err());
        assert_eq!(number(&body(7)), Some(7));
    }
}
