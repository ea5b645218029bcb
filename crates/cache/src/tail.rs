//! The side of whoever re-applies invalidations from a log of what was committed (an outbox), until Redis has
//! acknowledged them: it covers a crash between commit and invalidation, and what Redis forgot.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deadpool_redis::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use deadpool_redis::redis::{
    Cmd, ErrorKind, FromRedisValue, InfoDict, RedisError, Value, cmd, from_redis_value,
};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::connection::{Connection, Dialer};
use crate::entry::Version;
use crate::key::{Keys, of_cache};
use crate::namespace::{Namespace, Source, millis};
use crate::policy::CONTROL_TTL;
use crate::script::INVALIDATE;
use crate::watermark::Published;

/// A tail can wait longer than a reader; longer than this, something is wrong.
const LIMIT: Duration = Duration::from_secs(2);
/// Invalidations that are sent before their answers are awaited.
const PIPELINE: usize = 200;
/// A watermark that nobody publishes any more disappears.
const WATERMARK_TTL: Duration = Duration::from_secs(60 * 60);

/// A connection of its own: one, so that who answers [`Tail::identity`] is who is written to.
pub struct Tail {
    dialer: Dialer,
    scope: String,
    connection: Option<Connection>,
}

/// Which Redis it is: run id and replication id of every master. Another identity means that acknowledged writes may be
/// lost: both change when a server is restarted, promoted or demoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(String);

/// Redis did not acknowledge; try again.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("redis did not answer within {} s", LIMIT.as_secs())]
    TooSlow,
    /// After an error, [`Tail::identity`] comes first: it may be another Redis that answers now.
    #[error("there is no connection; ask for the identity first")]
    NotConnected,
    #[error("redis did not acknowledge: {0}")]
    Redis(#[from] RedisError),
}

impl Tail {
    pub(crate) fn new(dialer: Dialer, scope: String) -> Tail {
        Tail {
            dialer,
            scope,
            connection: None,
        }
    }

    /// Connects if need be; nothing else does. Read on the connection that is written on. Compare it, at every poll, with
    /// the one that was saved with the position: if it differs, [`Tail::withdraw`], save the rewound position and the new
    /// identity in one statement, then re-apply.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn identity(&mut self) -> Result<Identity, TailError> {
        self.connect().await?;
        let mut masters = Vec::new();
        let servers = self.info("server").await?;
        let replications = self.info("replication").await?;
        for (node, server) in &servers {
            let field = |info: &InfoDict, name: &str| info.get::<String>(name).unwrap_or_default();
            let replication = replications.iter().find(|(other, _)| other == node);
            let replication = replication.map(|(_, info)| field(info, "master_replid"));
            masters.push(format!(
                "{}:{}",
                field(server, "run_id"),
                replication.unwrap_or_default()
            ));
        }
        masters.sort();
        Ok(Identity(masters.join(",")))
    }

    /// Makes every process distrust entries older than the staleness bound, until the watermark rises again.
    ///
    /// # Errors
    /// When Redis does not acknowledge it.
    pub async fn withdraw(&mut self) -> Result<(), TailError> {
        metrics::counter!("cache_reapplies_total").increment(1);
        let key = self.watermark();
        self.run::<u64>(&Cmd::del(key)).await.map(drop)
    }

    /// All that was committed before `to` has been applied, and by the database's clock that was `lag` ago. `saves`, how
    /// often the tail has saved its position, is kept beside it: a database with fewer than [`Tail::saves`] went back in time.
    ///
    /// # Errors
    /// When Redis does not acknowledge it.
    pub async fn publish(&mut self, to: SystemTime, lag: Duration, saves: i64) -> Result<(), TailError> {
        let since = to.duration_since(UNIX_EPOCH).unwrap_or_default();
        let published = Published {
            to: millis(since),
            lag: millis(lag),
        };
        metrics::gauge!("cache_watermark_lag_seconds").set(lag.as_secs_f64());
        self.run::<()>(&Cmd::set(of_cache(&self.scope, "saves"), saves))
            .await?;
        let mut command = Cmd::set(self.watermark(), published.to_string());
        command.arg("PX").arg(millis(WATERMARK_TTL));
        self.run::<()>(&command).await
    }

    /// The last number that [`Tail::publish`] kept here; `None` when Redis has none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn saves(&mut self) -> Result<Option<i64>, TailError> {
        self.run(&Cmd::get(of_cache(&self.scope, "saves"))).await
    }

    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, TailError> {
        let reply = self
            .with(async |connection| command.query_async::<Value>(connection).await)
            .await?;
        Ok(from_redis_value(reply).map_err(RedisError::from)?)
    }

    pub(crate) async fn connect(&mut self) -> Result<(), TailError> {
        if self.connection.is_none() {
            // The cache's own connection knows the time; a tail has no use for it.
            self.connection = Some(self.dialer.dial(&Clock::new()).await?);
        }
        Ok(())
    }

    /// INFO's section of every master, by address.
    async fn info(&mut self, section: &str) -> Result<Vec<(String, InfoDict)>, TailError> {
        let mut command = cmd("INFO");
        command.arg(section);
        self.with(async |connection| match connection {
            Connection::Single(connection) => {
                let info = command.query_async(connection).await?;
                Ok(vec![(String::new(), info)])
            }
            Connection::Cluster(connection) => {
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let replies = connection.route_command(command.clone(), masters).await?;
                let replies: std::collections::HashMap<String, Value> = from_redis_value(replies)?;
                replies
                    .into_iter()
                    .map(|(node, info)| Ok((node, from_redis_value(info)?)))
                    .collect()
            }
        })
        .await
    }

    async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, TailError> {
        let Some(connection) = &mut self.connection else {
            return Err(TailError::NotConnected);
        };
        let outcome = match timeout(LIMIT, work(connection)).await {
            Ok(outcome) => outcome.map_err(TailError::Redis),
            Err(_) => Err(TailError::TooSlow),
        };
        match &outcome {
            Ok(_) => {}
            // A refusal is an answer.
            Err(TailError::Redis(error))
                if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {}
            // What it still has on its way is not known to have happened, and is done again.
            Err(_) => self.connection = None,
        }
        outcome
    }

    fn watermark(&self) -> String {
        watermark_key(&self.scope)
    }
}

pub(crate) fn watermark_key(scope: &str) -> String {
    of_cache(scope, "watermark")
}

impl<S: Source> Namespace<S> {
    /// Invalidates as [`Namespace::invalidate`] does, with the tail's connection, and returns when Redis has acknowledged
    /// all of it.
    ///
    /// # Errors
    /// When it has not; some may be applied, and all of it is to be done again.
    pub async fn reapply(&self, tail: &mut Tail, old: &[(S::Key, Version)]) -> Result<(), TailError> {
        let inner = &self.0;
        let commands: Vec<(Keys, Version)> = old
            .iter()
            .filter_map(|(key, version)| Some((Keys::of(&inner.core.scope, S::NAMESPACE, key)?, *version)))
            .collect();
        for (keys, _) in &commands {
            inner.local.remove(&keys.data);
        }
        for page in commands.chunks(PIPELINE) {
            let answers = tail.invalidate(page).await?;
            for answer in answers {
                inner.meters.invalidation(if answer == "redundant" {
                    "redundant"
                } else {
                    "tail"
                });
            }
        }
        Ok(())
    }
}

impl Tail {
    async fn invalidate(&mut self, page: &[(Keys, Version)]) -> Result<Vec<String>, TailError> {
        let attempt = |by_text: bool| {
            page.iter().map(move |(keys, version)| {
                let both = keys.both();
                let arguments = |command: &mut Cmd| {
                    command.arg(version.get()).arg(millis(CONTROL_TTL));
                };
                if by_text {
                    INVALIDATE.by_text(&both, &arguments)
                } else {
                    INVALIDATE.by_hash(&both, &arguments)
                }
            })
        };
        match self.all(attempt(false)).await {
            Err(TailError::Redis(error)) if error.code() == Some("NOSCRIPT") => self.all(attempt(true)).await,
            answers => answers,
        }
    }

    /// Sends all commands at once and awaits every answer. The shared connection pipelines them, and a cluster's sends each
    /// to its master.
    async fn all(&mut self, commands: impl Iterator<Item = Cmd>) -> Result<Vec<String>, TailError> {
        let commands: Vec<Cmd> = commands.collect();
        self.with(async |connection| {
            let sent = commands.iter().map(|command| {
                let mut connection = connection.clone();
                async move { command.query_async::<String>(&mut connection).await }
            });
            futures_util::future::try_join_all(sent).await
        })
        .await
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<String> for Identity {
    /// One that was saved.
    fn from(saved: String) -> Identity {
        Identity(saved)
    }
}
