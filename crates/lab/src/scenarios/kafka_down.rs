//! Kafka is gone for a while and writes go on: nobody who writes notices, and afterwards the outbox is drained in order.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use stack::{Server, Stack};

use crate::ledger::sources::Sources;
use crate::load::Load;
use crate::load::shop::Shop;
use crate::load::tally::{Outcomes, Phase};
use crate::log_watch::LogWatch;
use crate::scenarios::committed::{self, Checked};
use crate::spread::Latency;
use crate::table::{Table, number};

const CUSTOMERS: usize = 50;
const PRODUCTS: usize = 100;

/// Before the first phase.
const WARM_UP: Duration = Duration::from_secs(3);

/// How long everything may take that was committed until it is in the log, after the load has ended.
const SETTLE: Duration = Duration::from_secs(60);

/// How long the relay may publish nothing after Kafka's return.
const STALLED: Duration = Duration::from_secs(60);

/// The part of a run after Kafka's return.
const DRAINING: &str = "starting, draining";

const LOOK: Duration = Duration::from_millis(50);

/// For how long, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// How long Kafka is down
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub down: Duration,
    /// How long writes are measured before that
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    pub before: Duration,
    /// Orders per second; with payments and cancellations, a request and three quarters each
    #[arg(long, value_name = "N", default_value_t = 285, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
}

/// Writes in a part of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Writes {
    pub name: &'static str,
    pub seconds: f64,
    pub outcomes: Outcomes,
    pub latency: Latency,
}

/// What the run showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub writes: Vec<Writes>,
    /// Facts that were committed and not in the log when Kafka came back.
    pub waiting: i64,
    /// From its return until all of them were there, in seconds, while writes went on.
    pub drained_seconds: f64,
    pub checked: Checked,
}

/// Runs the scenario on servers without processes, and leaves those that it starts up.
pub async fn run(stack: &mut Stack, plan: Plan) -> anyhow::Result<Report> {
    stack.start("app-service", 1).await?;
    stack.start("gateway", 1).await?;
    let sources = Sources::of(stack)?;
    let shop = Shop::open(stack, "kafka-down", CUSTOMERS, PRODUCTS)
        .await
        .context("cannot open the shop")?;
    let watch = LogWatch::start(&sources.kafka, &events::topics::ALL)?;
    let load = Load::start(Arc::new(shop), plan.rate);
    tokio::time::sleep(WARM_UP).await;
    load.take_phase();
    let mut writes = Vec::new();
    tracing::info!("all is well");
    let mut begun = Instant::now();
    tokio::time::sleep(plan.before).await;
    writes.push(Writes::of("before", begun, load.take_phase()));
    tracing::info!("Kafka is killed");
    begun = Instant::now();
    stack.kill_server(Server::Kafka)?;
    tokio::time::sleep(plan.down).await;
    writes.push(Writes::of("Kafka down", begun, load.take_phase()));
    begun = Instant::now();
    stack.start_server(Server::Kafka).await?;
    let back = Instant::now();
    let missing = committed::check(&sources, &watch).await?;
    tracing::info!("Kafka is back, and {} facts wait", number(missing.lost));
    until_published(&watch, missing.committed).await?;
    let drained_seconds = back.elapsed().as_secs_f64();
    writes.push(Writes::of(DRAINING, begun, load.take_phase()));
    load.stop().await;
    let checked = committed::settle(&sources, &watch, SETTLE).await?;
    watch.stop().await;
    Ok(Report {
        writes,
        waiting: missing.lost,
        drained_seconds,
        checked,
    })
}

/// Waits until the log holds as many versions as were committed when Kafka came back. Others are published meanwhile, but in commit
/// order these come first.
async fn until_published(watch: &LogWatch, committed: i64) -> anyhow::Result<()> {
    let mut seen = (0, Instant::now());
    loop {
        let published = i64::try_from(watch.order().first_copies)?;
        if published >= committed {
            return Ok(());
        }
        if published > seen.0 {
            seen = (published, Instant::now());
        }
        ensure!(
            seen.1.elapsed() < STALLED,
            "the relay stands still at {published} of {committed}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

impl Writes {
    fn of(name: &'static str, begun: Instant, phase: Phase) -> Writes {
        Writes {
            name,
            seconds: begun.elapsed().as_secs_f64(),
            outcomes: phase.outcomes,
            latency: Latency::of(phase.latencies_us),
        }
    }
}

impl Report {
    /// What does not hold, in words; nothing: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.checked.failures();
        for writes in &self.writes {
            let Outcomes { shed, failed, .. } = writes.outcomes;
            // While a backlog is drained the machine has more to do than the load asks for; whoever is shed then is told so and comes
            // again. Kafka's absence by itself is no reason to shed.
            let shed = if writes.name == DRAINING { 0 } else { shed };
            if shed + failed > 0 {
                failures.push(format!(
                    "{}: {shed} writes were shed, {failed} failed",
                    writes.name
                ));
            }
        }
        if self.waiting == 0 {
            failures.push("nothing waited for Kafka: it was not down, or nobody wrote".to_owned());
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            "writes",
            "seconds",
            "per second",
            "refused",
            "shed",
            "failed",
            "p50 ms",
            "p99 ms",
            "longest ms",
        ]);
        for writes in &self.writes {
            let Outcomes {
                refused,
                shed,
                failed,
                ..
            } = writes.outcomes;
            let [p50, p99, longest] = writes.latency.cells();
            table.row([
                writes.name.to_owned(),
                format!("{:.1}", writes.seconds),
                format!("{:.0}", writes.outcomes.total() as f64 / writes.seconds),
                refused.to_string(),
                shed.to_string(),
                failed.to_string(),
                p50,
                p99,
                longest,
            ]);
        }
        writeln!(f, "{}", table.render())?;
        if let [before, during, ..] = self.writes.as_slice() {
            let ratio = f64::from(during.latency.p99_us) / f64::from(before.latency.p99_us.max(1));
            writeln!(f, "p99 while Kafka is down / before: {ratio:.2}")?;
        }
        writeln!(
            f,
            "{} facts waited; they were drained {:.1} s after Kafka's return, {} a second",
            number(self.waiting),
            self.drained_seconds,
            number((self.waiting as f64 / self.drained_seconds.max(0.001)).round() as i64)
        )?;
        self.checked.fmt(f)?;
        match self.failures() {
            failures if failures.is_empty() => writeln!(f, "passed"),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
