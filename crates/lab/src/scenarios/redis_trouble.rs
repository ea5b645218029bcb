//! Reads through app-service while Redis is killed, stopped, slow, out of memory, refusing writes, has another password, or is replaced
//! by an empty one, at a load that the database is given: none fails, and the database sees no more loads at once than the bulkhead lets
//! through.

mod loads;
mod reading;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use stack::{Server, Stack};
use testkit::{Mood, Proxy};
use tokio::time::sleep;

use self::loads::Loads;
use self::reading::Readers;
pub use self::report::{Phase, Report, Suffered};
use crate::Arena;
use crate::ledger::sources::Sources;
use crate::scenarios::redis_admin::RedisAdmin;
use crate::scenarios::storefront::Storefront;

const PRODUCTS: usize = 500;
/// How long reads are measured before each fault, and again after its recovery.
const WELL: Duration = Duration::from_secs(3);
/// How long recovering may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(200);
/// Half of DB_MAX_CONNECTIONS, whose default is 10.
const BULKHEAD: i64 = 5;

/// For how long, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Reads per second, of 500 products in turn
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(50..=10_000))]
    pub rate: u32,
    /// How long each fault lasts
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub lasting: Duration,
    /// How long Redis refuses writes, out of memory or by order; the default is longer than entries are answered that nobody can
    /// confirm or replace
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = humantime::parse_duration)]
    pub refusing: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Killed,
    Stopped,
    Slow,
    OutOfMemory,
    RefusesWrites,
    OtherPassword,
    Emptied,
}

const ALL: [Fault; 7] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Slow,
    Fault::OutOfMemory,
    Fault::RefusesWrites,
    Fault::OtherPassword,
    Fault::Emptied,
];

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Stopped => "stopped (SIGSTOP)",
            Fault::Slow => "200 ms slow",
            Fault::OutOfMemory => "out of memory",
            Fault::RefusesWrites => "refuses writes",
            Fault::OtherPassword => "wrong password",
            Fault::Emptied => "replaced by an empty one",
        }
    }
}

/// Runs the scenario on servers without processes.
///
/// # Errors
/// When the system does not come back.
pub async fn run(arena: &mut Arena, plan: Plan) -> anyhow::Result<Report> {
    let sources = Sources::of(&arena.stack)?;
    let url = arena.stack.redis_url("app-service");
    let proxy = Proxy::before(&url).await?;
    arena
        .stack
        .set_environment(vec![("REDIS_URL".to_owned(), proxy.url().to_owned())]);
    arena.stack.start("app-service", 1).await?;
    let storefront = Arc::new(Storefront::open(&arena.stack, arena.folder.path(), PRODUCTS).await?);
    let patient = Patient {
        redis: RedisAdmin::at(&arena.stack.redis_url("admin"))?,
        url,
        proxy,
        stack: &mut arena.stack,
    };
    let readers = Readers::start(storefront, plan.rate);
    let loads = Loads::watch(&sources).await?;
    let suffered = suffer_all(patient, &readers, &loads, plan).await;
    readers.stop().await?;
    loads.stop().await?;
    Ok(Report { suffered: suffered? })
}

async fn suffer_all(
    mut patient: Patient<'_>,
    readers: &Readers,
    loads: &Loads,
    plan: Plan,
) -> anyhow::Result<Vec<Suffered>> {
    let mut all = Vec::new();
    readers.until_all_hit().await?;
    for fault in ALL {
        tracing::info!("redis: {}", fault.name());
        readers.take();
        sleep(WELL).await;
        let before = readers.take();
        loads.take();
        patient.falls_ill(fault).await?;
        // An empty one is well at once: what it makes readers suffer is its recovery.
        let lasts = fault != Fault::Emptied;
        let mut during = Phase::default();
        if lasts {
            sleep(match fault {
                Fault::OutOfMemory | Fault::RefusesWrites => plan.refusing,
                _ => plan.lasting,
            })
            .await;
            during = readers.take();
            patient.recovers(fault).await?;
        }
        let healed = Instant::now();
        let last_miss = readers.until_all_hit().await?;
        let recovery = last_miss.saturating_duration_since(healed);
        if !lasts {
            during = readers.take();
        }
        let most_loads = loads.take();
        sleep(WELL).await;
        let after = readers.take();
        all.push(Suffered {
            fault: fault.name(),
            before,
            during,
            after,
            most_loads,
            bulkhead: BULKHEAD,
            recovery_seconds: recovery.as_secs_f64(),
        });
    }
    Ok(all)
}

/// Redis, and the way to it.
struct Patient<'a> {
    stack: &'a mut Stack,
    redis: RedisAdmin,
    proxy: Proxy,
    /// With app-service's password.
    url: String,
}

impl Patient<'_> {
    async fn falls_ill(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.stack.kill_server(Server::Redis),
            Fault::Stopped => self.stack.pause_server(Server::Redis),
            Fault::Slow => {
                self.proxy.set(Mood::Slow(SLOW));
                Ok(())
            }
            Fault::OutOfMemory => {
                self.redis.set("maxmemory-policy", "noeviction").await?;
                self.redis.set("maxmemory", "1").await
            }
            Fault::RefusesWrites => self.redis.set("min-replicas-to-write", "1").await,
            Fault::OtherPassword => {
                self.password("somebody-else's").await?;
                self.redis
                    .ask::<i64>(&["CLIENT", "KILL", "USER", "app-service"])
                    .await?;
                Ok(())
            }
            Fault::Emptied => {
                self.stack.kill_server(Server::Redis)?;
                self.stack.start_server(Server::Redis).await
            }
        }
    }

    async fn recovers(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.stack.start_server(Server::Redis).await,
            Fault::Stopped => self.stack.resume_server(Server::Redis),
            Fault::Slow => {
                self.proxy.set(Mood::Open);
                Ok(())
            }
            Fault::OutOfMemory => {
                self.redis.set("maxmemory", "256mb").await?;
                self.redis.set("maxmemory-policy", "allkeys-lru").await
            }
            Fault::RefusesWrites => self.redis.set("min-replicas-to-write", "0").await,
            Fault::OtherPassword => {
                let right = password_of(&self.url)
                    .context("the Redis URL has no password")?
                    .to_owned();
                self.password(&right).await
            }
            Fault::Emptied => Ok(()),
        }
    }

    async fn password(&self, password: &str) -> anyhow::Result<()> {
        let password = format!(">{password}");
        self.redis
            .ask::<()>(&["ACL", "SETUSER", "app-service", "resetpass", &password])
            .await
    }
}

fn password_of(url: &str) -> Option<&str> {
    let (user, _) = url.split_once("://")?.1.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}
