//! How long a fact takes from its transaction to Kafka while two replicas write, what the tails cost while nobody writes, and whether a
//! transaction that is left open changes either.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::benches::backlog::Backlog;
use crate::benches::cpu;
use crate::ledger::sources::Sources;
use crate::load::Load;
use crate::load::shop::Shop;
use crate::log_watch::LogWatch;
use crate::scrape::{Scrape, percentile};
use crate::spread::Latency;
use crate::table::{Table, number};
use crate::{Arena, Folder};

/// Replicas of app-service: what one writes, the other may have to publish.
const REPLICAS: u16 = 2;

/// Before the first measurement.
const WARM_UP: Duration = Duration::from_secs(3);

/// Into how many parts the time with an open writer is cut.
const PARTS: u32 = 6;

const CUSTOMERS: usize = 50;
/// So many that orders seldom wait for each other's stock.
const PRODUCTS: usize = 500;

/// The order, and the stock of each line: with few transactions the machine is not busy with HTTP, which is not what is measured.
const FACTS: u32 = 10;
const LINES: usize = 9;

/// app-service's own histogram: from a fact's insert to its acknowledgement.
const DELIVERY: &str = "outbox_delivery_seconds";

/// How long, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Facts per second, by orders of nine lines, which state ten
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub rate: u32,
    /// How long facts are measured
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub length: Duration,
    /// How long nobody writes before that
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub idle: Duration,
    /// Measure again for this long, while a transaction stays open
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub open_writer: Option<Duration>,
}

/// Some time under load.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub name: String,
    pub facts_per_second: f64,
    /// From a fact's insert until a consumer has its record: longer than from the commit to the acknowledgement.
    pub until_consumed: Latency,
    /// From the insert to the acknowledgement, as app-service measures it: the buckets' bounds, in seconds.
    pub until_acknowledged_p50: f64,
    pub until_acknowledged_p99: f64,
    /// CPU time of the server's sessions that the relay reads through, in microseconds for a fact.
    pub session_us: f64,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    pub plan: Plan,
    /// Percent of a core while nobody writes: each replica, and all of the relay's sessions.
    pub idle_percent: Vec<f64>,
    pub idle_sessions_percent: f64,
    pub parts: Vec<Part>,
}

/// Servers in `folder`, and two replicas that are not started yet.
pub async fn arena(folder: Folder, mut options: stack::Options) -> anyhow::Result<Arena> {
    options.replicas.insert("app-service".to_owned(), REPLICAS);
    Arena::servers(folder, options).await
}

/// Measures on servers without processes, which it starts.
pub async fn run(arena: &mut Arena, plan: Plan) -> anyhow::Result<Report> {
    for replica in 1..=REPLICAS {
        arena.stack.start("app-service", replica).await?;
    }
    arena.stack.start("gateway", 1).await?;
    let sources = Sources::of(&arena.stack)?;
    let shop = Shop::open(&arena.stack, "latency", CUSTOMERS, PRODUCTS)
        .await
        .context("cannot open the shop")?
        .lines(LINES);
    let watch = LogWatch::start(&sources.kafka, &events::topics::ALL)?;
    let mut meter = Meter::new(arena, &watch).await?;
    tracing::info!("nobody writes");
    let (idle_percent, idle_sessions_percent) = meter.idle(plan.idle).await?;
    let load = Load::of_orders_alone(Arc::new(shop), plan.rate / FACTS);
    tokio::time::sleep(WARM_UP).await;
    tracing::info!("two replicas write");
    let mut parts = vec![meter.part("no open writer".to_owned(), plan.length).await?];
    if let Some(length) = plan.open_writer {
        let url = arena.stack.postgres_superuser_url("app");
        let open = Backlog::open(&url).await?.leave_open().await?;
        for number in 1..=PARTS {
            tracing::info!("a writer is left open: part {number} of {PARTS}");
            let name = format!("open writer, part {number}");
            parts.push(meter.part(name, length / PARTS).await?);
        }
        drop(open);
    }
    load.stop().await;
    watch.stop().await;
    Ok(Report {
        plan,
        idle_percent,
        idle_sessions_percent,
        parts,
    })
}

/// Looks at two replicas and at the log.
struct Meter<'a> {
    watch: &'a LogWatch,
    admin: Vec<String>,
    pids: Vec<u32>,
    sessions: Vec<u32>,
}

impl<'a> Meter<'a> {
    async fn new(arena: &Arena, watch: &'a LogWatch) -> anyhow::Result<Meter<'a>> {
        let replicas = 1..=REPLICAS;
        let mut database = Backlog::open(&arena.stack.postgres_superuser_url("app")).await?;
        Ok(Meter {
            watch,
            admin: replicas
                .clone()
                .map(|replica| arena.stack.admin_url("app-service", replica))
                .collect::<anyhow::Result<_>>()?,
            pids: replicas
                .map(|replica| arena.stack.pid("app-service", replica))
                .collect::<anyhow::Result<_>>()?,
            sessions: database.relay_sessions().await?,
        })
    }

    async fn idle(&self, length: Duration) -> anyhow::Result<(Vec<f64>, f64)> {
        // What opening the shop set off comes to an end.
        tokio::time::sleep(WARM_UP).await;
        let each =
            || -> anyhow::Result<Vec<Duration>> { self.pids.iter().map(|pid| cpu::of(*pid)).collect() };
        let (begun, before, sessions) = (Instant::now(), each()?, cpu::of_all(&self.sessions)?);
        tokio::time::sleep(length).await;
        let percent = |used: Duration| 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
        let replicas = each()?.into_iter().zip(before);
        Ok((
            replicas.map(|(after, before)| percent(after - before)).collect(),
            percent(cpu::of_all(&self.sessions)? - sessions),
        ))
    }

    async fn part(&mut self, name: String, length: Duration) -> anyhow::Result<Part> {
        let (begun, sessions, before) = (
            Instant::now(),
            cpu::of_all(&self.sessions)?,
            self.delivery().await?,
        );
        self.watch.take_ages();
        tokio::time::sleep(length).await;
        let ages = self.watch.take_ages();
        let (seconds, after) = (begun.elapsed().as_secs_f64(), self.delivery().await?);
        ensure!(!ages.is_empty(), "no fact was published within {seconds:.0} s");
        let used = cpu::of_all(&self.sessions)? - sessions;
        Ok(Part {
            name,
            facts_per_second: ages.len() as f64 / seconds,
            session_us: used.as_secs_f64() * 1e6 / ages.len() as f64,
            until_consumed: Latency::of(ages),
            until_acknowledged_p50: percentile(&before, &after, 50.0),
            until_acknowledged_p99: percentile(&before, &after, 99.0),
        })
    }

    /// The histogram of both replicas; one of them has nothing to tell.
    async fn delivery(&self) -> anyhow::Result<Vec<(f64, f64)>> {
        let mut all: Vec<(f64, f64)> = Vec::new();
        for admin in &self.admin {
            for (bound, count) in Scrape::of(admin).await?.buckets(DELIVERY, "sink=\"kafka\"")? {
                match all.iter_mut().find(|(other, _)| *other == bound) {
                    Some((_, sum)) => *sum += count,
                    None => all.push((bound, count)),
                }
            }
        }
        Ok(all)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle: Vec<String> = self
            .idle_percent
            .iter()
            .map(|percent| format!("{percent:.2} %"))
            .collect();
        writeln!(
            f,
            "nobody writes for {}: app-service uses {} of a core, the relay's PostgreSQL sessions {:.2} %\n",
            humantime::format_duration(self.plan.idle),
            idle.join(" and "),
            self.idle_sessions_percent
        )?;
        let mut table = Table::new([
            "insert until",
            "facts/s",
            "consumed p50 ms",
            "p99 ms",
            "longest ms",
            "acknowledged p50 ms",
            "p99 ms",
            "session us/fact",
        ]);
        for part in &self.parts {
            let [p50, p99, longest] = part.until_consumed.cells();
            let bound = |seconds: f64| format!("<= {}", seconds * 1000.0);
            table.row([
                part.name.clone(),
                number(part.facts_per_second.round() as i64),
                p50,
                p99,
                longest,
                bound(part.until_acknowledged_p50),
                bound(part.until_acknowledged_p99),
                format!("{:.1}", part.session_us),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        if let [_, first, .., last] = self.parts.as_slice() {
            writeln!(
                f,
                "open writer, last part / first part: p99 {:.2}, session time for a fact {:.2}",
                f64::from(last.until_consumed.p99_us) / f64::from(first.until_consumed.p99_us),
                last.session_us / first.session_us
            )?;
        }
        Ok(())
    }
}
