//! Replicas of app-service killed, stopped and suspended under load, with Kafka and PostgreSQL killed in between: whoever owns the relay
//! then, what was committed is in the log in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use diesel::deserialize::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use stack::{Options, Server, Stack};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ledger::sources::Sources;
use crate::load::Load;
use crate::load::shop::Shop;
use crate::log_watch::LogWatch;
use crate::scenarios::committed;
use crate::scenarios::relay_report::{Report, Trouble};
use crate::scrape::Scrape;
use crate::{Arena, Folder};

/// The load must be at least this many orders per second for the result to count.
pub const MIN_RATE: u32 = 50;

const REPLICAS: u16 = 2;
const CUSTOMERS: usize = 50;
const PRODUCTS: usize = 20;

/// How long another replica may take until it owns the relay, and the relay until it publishes again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long everything may take that was committed until it is in the log, after the load has ended.
const SETTLE: Duration = Duration::from_secs(60);

/// Longer than the lease and a second, so that another replica owns the relay when the suspended one wakes up and goes on.
const LONG_PAUSE: Duration = Duration::from_secs(8);

const LOOK: Duration = Duration::from_millis(10);

/// How much happens, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// How often a replica of app-service is killed, stopped or suspended
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub kills: u32,
    /// Orders per second
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
}

/// Servers in `folder`, and two replicas that are not started yet.
pub async fn arena(folder: Folder, mut options: Options) -> anyhow::Result<Arena> {
    options.replicas.insert("app-service".to_owned(), REPLICAS);
    // The servers live on, and what they wrote survives without it.
    options.fsync = false;
    Arena::servers(folder, options).await
}

/// Runs the scenario on servers without processes, and leaves those that it starts up.
pub async fn run(stack: &mut Stack, plan: Plan) -> anyhow::Result<Report> {
    for replica in 1..=REPLICAS {
        stack.start("app-service", replica).await?;
    }
    stack.start("gateway", 1).await?;
    let sources = Sources::of(stack)?;
    let shop = Shop::open(stack, "relay", CUSTOMERS, PRODUCTS)
        .await
        .context("cannot open the shop")?;
    let watch = LogWatch::start(&sources.kafka, &events::topics::ALL)?;
    let load = Load::start(Arc::new(shop), plan.rate);
    let mut storm = Storm {
        stack,
        sources: &sources,
        watch: &watch,
        troubles: BTreeMap::new(),
    };
    for number in 1..=plan.kills {
        storm.strike(number).await?;
        tracing::info!("{number} of {}", plan.kills);
    }
    let troubles = storm.troubles;
    let requests = load.stop().await;
    tracing::info!("the load has ended; waiting until everything is in the log");
    let checked = committed::settle(&sources, &watch, SETTLE).await?;
    watch.stop().await;
    Ok(Report {
        plan,
        troubles,
        requests,
        checked,
    })
}

struct Storm<'a> {
    stack: &'a mut Stack,
    sources: &'a Sources,
    watch: &'a LogWatch,
    troubles: BTreeMap<&'static str, Trouble>,
}

impl Storm<'_> {
    /// One replica, the owner three times of four; and a server now and then. Returns when the relay publishes again.
    async fn strike(&mut self, number: u32) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..500))).await;
        let owner = self.owner().await?;
        let owned = !number.is_multiple_of(4);
        let victim = if owned { owner } else { REPLICAS + 1 - owner };
        let succession = Succession::watch(self.sources).await?;
        let struck = Instant::now();
        match number % 5 {
            2 => self.suspend(victim, owned, number, succession).await?,
            4 => {
                self.stack.stop("app-service", victim).await?;
                self.note("stopped", owned, succession, struck).await?;
                self.stack.start("app-service", victim).await?;
            }
            _ => {
                self.stack.kill("app-service", victim)?;
                let waiting = owned.then(|| tokio::spawn(succession.until_next(struck)));
                self.stack.start("app-service", victim).await?;
                let took = match waiting {
                    Some(waiting) => Some(joined(waiting).await?),
                    None => None,
                };
                self.trouble("killed").add(took);
            }
        }
        self.until_published("after a replica was struck").await?;
        if number % 5 == 3 {
            self.kill_server("Kafka killed", Server::Kafka).await?;
        } else if number.is_multiple_of(5) {
            self.kill_server("PostgreSQL killed", Server::Postgres).await?;
        }
        Ok(())
    }

    /// Every other time for longer than its lease, so that it wakes up as an owner who is none any more.
    async fn suspend(
        &mut self,
        victim: u16,
        owned: bool,
        number: u32,
        succession: Succession,
    ) -> anyhow::Result<()> {
        let struck = Instant::now();
        let long = number % 10 == 2;
        self.stack.pause("app-service", victim)?;
        let waiting = (owned && long).then(|| tokio::spawn(succession.until_next(struck)));
        let short = Duration::from_millis(rand::random_range(100..3000));
        tokio::time::sleep(if long { LONG_PAUSE } else { short }).await;
        self.stack.resume("app-service", victim)?;
        let took = match waiting {
            Some(waiting) => Some(joined(waiting).await?),
            None => None,
        };
        let name = if long {
            "suspended for 8 s"
        } else {
            "suspended briefly"
        };
        self.trouble(name).add(took);
        Ok(())
    }

    async fn note(
        &mut self,
        name: &'static str,
        owned: bool,
        succession: Succession,
        struck: Instant,
    ) -> anyhow::Result<()> {
        let took = match owned {
            true => Some(succession.until_next(struck).await?),
            false => None,
        };
        self.trouble(name).add(took);
        Ok(())
    }

    /// SIGKILL, and after a moment it is started again. What counts is the time from then until the relay publishes.
    async fn kill_server(&mut self, name: &'static str, server: Server) -> anyhow::Result<()> {
        self.stack.kill_server(server)?;
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..2000))).await;
        self.stack.start_server(server).await?;
        let answered = Instant::now();
        self.until_published(name).await?;
        self.trouble(name).add(Some(answered.elapsed()));
        Ok(())
    }

    fn trouble(&mut self, name: &'static str) -> &mut Trouble {
        self.troubles.entry(name).or_default()
    }

    /// Waits for records: facts are committed all the time.
    async fn until_published(&self, when: &str) -> anyhow::Result<()> {
        let mut arrivals = self.watch.arrivals();
        timeout(PATIENCE, arrivals.changed())
            .await
            .with_context(|| format!("nothing was published for {PATIENCE:?} {when}"))?
            .context("nobody reads the log")
    }

    /// The replica that says that it owns the relay, alone: one that was suspended says so for a moment more.
    async fn owner(&self) -> anyhow::Result<u16> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut owners = Vec::new();
            for replica in 1..=REPLICAS {
                owners.push(self.owns(replica).await?);
            }
            match owners.as_slice() {
                [Some(true), Some(false)] => return Ok(1),
                [Some(false), Some(true)] => return Ok(2),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
        bail!("no replica owned the relay alone for {PATIENCE:?}")
    }

    /// Whether it says so; `None` when it does not answer, as one that was just resumed and is busy.
    async fn owns(&self, replica: u16) -> anyhow::Result<Option<bool>> {
        let admin = self.stack.admin_url("app-service", replica)?;
        let scrape = Scrape::of(&admin).await.ok();
        Ok(scrape.map(|scrape| scrape.sum("outbox_lease_owner", "sink=\"kafka\"") == 1.0))
    }
}

async fn joined(waiting: JoinHandle<anyhow::Result<Duration>>) -> anyhow::Result<Duration> {
    waiting.await.context("watching the lease panicked")?
}

/// Looks for the relay's next owner.
struct Succession {
    sources: Sources,
    epoch: i64,
}

#[derive(QueryableByName)]
struct Lease {
    #[diesel(sql_type = BigInt)]
    epoch: i64,
}

impl Succession {
    async fn watch(sources: &Sources) -> anyhow::Result<Succession> {
        let epoch = epoch(sources).await?;
        Ok(Succession {
            sources: sources.clone(),
            epoch,
        })
    }

    /// From `since` until the lease is another's.
    async fn until_next(self, since: Instant) -> anyhow::Result<Duration> {
        loop {
            if epoch(&self.sources).await? > self.epoch {
                return Ok(since.elapsed());
            }
            ensure!(
                since.elapsed() < PATIENCE,
                "nobody took the relay over for {PATIENCE:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// It rises with each owner.
async fn epoch(sources: &Sources) -> anyhow::Result<i64> {
    let mut conn = sources.connect("app").await?;
    let lease: Lease = sql_query("SELECT epoch FROM outbox_cursor WHERE sink = 'kafka'")
        .get_result(&mut conn)
        .await?;
    Ok(lease.epoch)
}
