//! The side of whoever re-applies invalidations from a log of what was committed (an outbox), until Redis has
//! acknowledged them: it covers a crash between commit and invalidation, and what Redis forgot.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deadpool_redis::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use deadpool_redis::redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisError, Value, cmd, from_redis_value};
use futures_util::future::{try_join_all, try_join3};
use tokio::time::{Instant, timeout};

use crate::clock::millis;
use crate::connection::{Connection, Dialer, is_demoted};
use crate::entry::Version;
use crate::key::{Keys, of_cache};
use crate::meters::operation;
use crate::namespace::{Namespace, Source};
use crate::policy::CONTROL_TTL;
use crate::script::INVALIDATE;
use crate::watermark::Published;

/// A tail can wait longer than a reader; longer than this, something is wrong.
const LIMIT: Duration = Duration::from_secs(2);
/// Invalidations that are sent before their answers are awaited.
const PIPELINE: usize = 200;
/// A watermark that nobody publishes any more disappears.
const WATERMARK_TTL: Duration = Duration::from_secs(60 * 60);

/// A connection of its own: one, so that who answers [`Tail::look`] is who is written to.
///
/// ```
/// use cache::{Identity, Namespace, Source, Tail, TailError, Version};
///
/// /// Applies what was committed since the saved position, unless another Redis answers than the one that was saved with it.
/// async fn deliver<S: Source>(
///     tail: &mut Tail,
///     saved: &Identity,
///     entries: &Namespace<S>,
///     committed: &[(S::Key, Version)],
/// ) -> Result<bool, TailError> {
///     if tail.look().await?.identity != *saved {
///         tail.withdraw().await?;
///         // Save an earlier position together with the new identity, and go on from there.
///         return Ok(false);
///     }
///     entries.reapply(tail, committed).await?;
///     // Save the position; once it is that of the last commit, `publish`.
///     Ok(true)
/// }
/// ```
pub struct Tail {
    dialer: Dialer,
    scope: String,
    connection: Option<Connection>,
}

/// Which Redis it is: run id and replication id of every master. Another identity means that acknowledged writes may be
/// lost: both change when a server is restarted, promoted or demoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(String);

/// What [`Tail::look`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who answered.
    pub identity: Identity,
    /// The last number that [`Tail::publish`] kept there; `None` when Redis has none.
    pub saves: Option<i64>,
}

/// Redis did not acknowledge; try again.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Some of what was sent may have been applied.
    #[error("redis did not answer within {} s", LIMIT.as_secs())]
    TooSlow,
    /// After an error, [`Tail::look`] comes first: it may be another Redis that answers now.
    #[error("there is no connection; look first")]
    NotConnected,
    /// Redis refused it, or the connection broke.
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

    /// Connects if need be; nothing else does. Asks on the connection that is written on, in one round trip. Compare the
    /// identity, at every poll, with the one that was saved with the position: if it differs, [`Tail::withdraw`], save the
    /// rewound position and the new identity in one statement, then re-apply.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn look(&mut self) -> Result<Seen, TailError> {
        self.connect().await?;
        let saves = Cmd::get(of_cache(&self.scope, "saves"));
        self.with(async |connection| {
            let (servers, replications, saves) = try_join3(
                info(connection.clone(), "server"),
                info(connection.clone(), "replication"),
                send(connection.clone(), &saves),
            )
            .await?;
            let identity = Identity::of(&servers, &replications);
            Ok(Seen { identity, saves })
        })
        .await
    }

    /// Makes every process distrust entries older than the staleness bound, until the watermark rises again.
    ///
    /// # Errors
    /// When Redis does not acknowledge it.
    pub async fn withdraw(&mut self) -> Result<(), TailError> {
        let key = self.watermark();
        self.run::<u64>(&Cmd::del(key)).await?;
        metrics::counter!("cache_reapplies_total").increment(1);
        Ok(())
    }

    /// All that was committed before `to` has been applied, and by the database's clock that was `lag` ago. `saves`, how
    /// often the tail has saved its position, is kept beside it: a database with fewer than [`Seen::saves`] went back in time.
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
        let saves = Cmd::set(of_cache(&self.scope, "saves"), saves);
        let mut watermark = Cmd::set(self.watermark(), published.to_string());
        watermark.arg("PX").arg(millis(WATERMARK_TTL));
        // Two keys of a cluster's may lie on two masters, so that they cannot be one command.
        self.all([saves, watermark].into_iter()).await.map(drop)
    }

    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, TailError> {
        let reply = self
            .with(async |connection| send::<Value>(connection.clone(), command).await)
            .await?;
        Ok(from_redis_value(reply).map_err(RedisError::from)?)
    }

    pub(crate) async fn connect(&mut self) -> Result<(), TailError> {
        if self.connection.is_none() {
            // The cache's own connection knows the time; a tail has no use for it.
            self.connection = Some(self.dialer.dial(&self.dialer.clock()).await?);
        }
        Ok(())
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
            // A refusal is an answer, unless another one is the master now.
            Err(TailError::Redis(error))
                if !is_demoted(error)
                    && matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {}
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
        let inner = &self.inner;
        let commands: Vec<(Keys, Version)> = old
            .iter()
            .filter_map(|(key, version)| Some((Keys::of(&inner.core.scope, S::NAMESPACE, key)?, *version)))
            .collect();
        inner.invalidated.fetch_add(1, Ordering::SeqCst);
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
            let sent = commands
                .iter()
                .map(|command| send::<String>(connection.clone(), command));
            try_join_all(sent).await
        })
        .await
    }
}

/// INFO's section of every master, by address.
async fn info(connection: Connection, section: &str) -> Result<HashMap<String, String>, RedisError> {
    let mut command = cmd("INFO");
    command.arg(section);
    match connection {
        Connection::Single(_) => {
            let info = send(connection, &command).await?;
            Ok(HashMap::from([(String::new(), info)]))
        }
        Connection::Cluster(mut connection) => {
            let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
            let began = Instant::now();
            let reply = connection.route_command(command.clone(), masters).await;
            record(&command, began);
            Ok(from_redis_value(reply?)?)
        }
    }
}

async fn send<T: FromRedisValue>(mut connection: Connection, command: &Cmd) -> Result<T, RedisError> {
    let began = Instant::now();
    let reply = command.query_async(&mut connection).await;
    record(command, began);
    reply
}

/// Beside the times of the cache's own connection; that of one that is given up is in neither.
fn record(command: &Cmd, began: Instant) {
    let name = match command.args_iter().next() {
        Some(Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => return,
    };
    operation(name).record(began.elapsed().as_secs_f64());
}

impl Identity {
    fn of(servers: &HashMap<String, String>, replications: &HashMap<String, String>) -> Identity {
        let master = |(node, server): (&String, &String)| {
            let replication = replications.get(node).map_or("", String::as_str);
            format!(
                "{}:{}",
                field(server, "run_id"),
                field(replication, "master_replid")
            )
        };
        let mut masters: Vec<String> = servers.iter().map(master).collect();
        masters.sort();
        Identity(masters.join(","))
    }
}

/// `name:value`, a line of INFO's.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let mut lines = info.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default()
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
