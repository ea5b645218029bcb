//! One of the reading processes: a child of the benchmark, which tells it what to do by a line on its standard input, lets it go by
//! another, has it begin to count by a third, and ends it by closing that. It answers `ready`, and then its tally again and again, each a line of JSON.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cache::{Cache, CacheArgs, CacheStatus, Lookup, Namespace, Policy};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncCommands as _, Client};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::source::{Rows, Shelf, number};
use super::tally::Tally;

/// How often the tally is told: a process that is killed takes with it what it had not told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// How entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By the crate.
    Cache,
    /// GET; when there is nothing, load and SET; DEL after a commit.
    Naive,
}

/// What a process does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) redis: String,
    /// Names what belongs to this run.
    pub(super) run: String,
    pub(super) way: Way,
    pub(super) process: usize,
    pub(super) tasks: usize,
    pub(super) keys: u32,
    /// Between two reads of a task, in milliseconds, ± a half.
    pub(super) pause_ms: u64,
    pub(super) load_ms: u64,
    pub(super) soft_ttl_ms: u64,
    pub(super) redis_timeout_ms: u64,
}

/// The way to the entries.
#[derive(Clone)]
pub(super) enum Entries {
    Cache(Namespace<Rows>),
    Naive(Arc<Naive>),
}

/// Cache-aside as it is often written.
pub(super) struct Naive {
    redis: MultiplexedConnection,
    shelf: Shelf,
    process: usize,
    takes: Duration,
    ttl_ms: u64,
    prefix: String,
}

/// How a read was answered.
struct Answered {
    status: String,
    waited: bool,
    /// The load that made what was answered, when others can find that in Redis.
    stored: Option<u64>,
}

impl Entries {
    pub(super) async fn open(assignment: &Assignment) -> anyhow::Result<Entries> {
        let shelf = Shelf::open(&assignment.redis, &assignment.run).await?;
        let (process, takes) = (assignment.process, Duration::from_millis(assignment.load_ms));
        match assignment.way {
            Way::Cache => {
                let settings = CacheArgs {
                    cache_scope: assignment.run.clone(),
                    redis_command_timeout: Duration::from_millis(assignment.redis_timeout_ms),
                    // Nothing publishes a watermark here.
                    cache_staleness_bound: Duration::ZERO,
                    cache_audit_every: 0,
                    ..CacheArgs::at(&assignment.redis)
                };
                // As many loads at once as tasks: it is the protocol that is to bound them.
                let cache = Cache::start(&settings, assignment.tasks).await?;
                let policy = Policy {
                    soft_ttl: Duration::from_millis(assignment.soft_ttl_ms),
                    ..Policy::default()
                };
                let rows = Rows {
                    shelf,
                    process,
                    takes,
                };
                Ok(Entries::Cache(cache.namespace(rows, policy)?))
            }
            Way::Naive => {
                let client = Client::open(assignment.redis.as_str())?;
                Ok(Entries::Naive(Arc::new(Naive {
                    redis: client.get_multiplexed_async_connection().await?,
                    shelf,
                    process,
                    takes,
                    ttl_ms: assignment.soft_ttl_ms,
                    prefix: format!("lab:{}:entry", assignment.run),
                })))
            }
        }
    }

    async fn read(&self, key: u32) -> anyhow::Result<Answered> {
        match self {
            Entries::Cache(namespace) => {
                let Lookup::Found(entry) = namespace.get(&key).await? else {
                    anyhow::bail!("row {key} is gone");
                };
                let status = entry.status;
                let waited = !matches!(status, CacheStatus::Hit | CacheStatus::HitStale);
                let stored = match status {
                    CacheStatus::Loaded(_) | CacheStatus::Collapsed(_) => None,
                    _ => number(&entry.body),
                };
                Ok(Answered {
                    status: status.header_value("lab"),
                    waited,
                    stored,
                })
            }
            Entries::Naive(naive) => naive.read(key).await,
        }
    }

    /// After the commit of `version`.
    pub(super) async fn invalidate(&self, key: u32, version: i64) -> anyhow::Result<()> {
        match self {
            Entries::Cache(namespace) => {
                namespace.invalidate(&key, version.try_into()?).await;
            }
            Entries::Naive(naive) => {
                let () = naive.redis.clone().del(naive.name(key)).await?;
            }
        }
        Ok(())
    }
}

impl Naive {
    fn name(&self, key: u32) -> String {
        format!("{}:{key}", self.prefix)
    }

    async fn read(&self, key: u32) -> anyhow::Result<Answered> {
        let mut redis = self.redis.clone();
        let name = self.name(key);
        let found: Option<Vec<u8>> = redis.get(&name).await?;
        if let Some(bytes) = found {
            return Ok(Answered {
                status: "hit".to_owned(),
                waited: false,
                stored: number(&bytes),
            });
        }
        let loaded = self.shelf.load(key, self.process, self.takes).await?;
        let () = redis.pset_ex(&name, &loaded.body[..], self.ttl_ms).await?;
        Ok(Answered {
            status: "miss".to_owned(),
            waited: true,
            stored: number(&loaded.body),
        })
    }
}

/// What a reader process does, from its first line to the end of its input.
pub async fn run() -> anyhow::Result<()> {
    let mut told = BufReader::new(tokio::io::stdin()).lines();
    let line = told.next_line().await?.context("nobody says what to do")?;
    let assignment: Assignment = serde_json::from_str(&line)?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let entries = Entries::open(&assignment).await?;
    say("ready")?;
    if told.next_line().await?.is_none() {
        return Ok(());
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..assignment.tasks)
        .map(|_| {
            let (entries, tally, stop) = (entries.clone(), tally.clone(), stop.clone());
            tokio::spawn(read(entries, assignment.clone(), tally, stop))
        })
        .collect();
    loop {
        match tokio::time::timeout(TELL_EVERY, told.next_line()).await {
            Err(_) => tell(&tally, &metrics)?,
            Ok(line) => match line? {
                Some(_) => lock(&tally).begin(),
                None => break,
            },
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.context("a reading task panicked")??;
    }
    tell(&tally, &metrics)
}

async fn read(
    entries: Entries,
    assignment: Assignment,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let pause = Duration::from_millis(assignment.pause_ms).mul_f64(0.5 + rand::random::<f64>());
        tokio::time::sleep(pause).await;
        let key = rand::random_range(0..assignment.keys);
        let begun = Instant::now();
        let answer = entries.read(key).await;
        let took = begun.elapsed();
        let mut tally = lock(&tally);
        match answer {
            Ok(answer) => {
                tally.answered(&answer.status, answer.waited, took);
                if let Some(number) = answer.stored {
                    tally.saw(key, number);
                }
            }
            Err(error) => tally.failed(&error),
        }
    }
    Ok(())
}

fn tell(tally: &Mutex<Tally>, metrics: &PrometheusHandle) -> anyhow::Result<()> {
    let counters = crate::scrape::Scrape::read(&metrics.render());
    let line = {
        let mut tally = lock(tally);
        tally.counters = counters.counters("cache_").collect();
        serde_json::to_string(&*tally)?
    };
    say(&line)
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().expect("nothing panics while it holds the tally")
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
