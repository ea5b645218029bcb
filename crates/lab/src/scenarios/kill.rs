//! kill -9 of each process in turn, under load and with work in flight; afterwards the ledger must balance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use stack::Stack;
use tokio::task::JoinHandle;

use crate::ledger::Ledger;
use crate::ledger::settle::mails_in_state;
use crate::ledger::sources::Sources;
use crate::load::Load;
use crate::load::shop::Shop;
use crate::log_watch::LogWatch;
use crate::scenarios::prey::{Mails, PROCESSES, Prey};
use crate::scenarios::report::{Report, Victim};

/// The load must be at least this many orders per second for the result to count.
pub const MIN_RATE: u32 = 50;

/// How often a kill that came too late is repeated.
const ATTEMPTS: u32 = 10;

/// How long the consumers may take to catch up after the load has ended. Mails that were being transmitted are given up only when
/// their lease has ended.
const SETTLE: Duration = Duration::from_secs(180);

const CUSTOMERS: usize = 50;
const PRODUCTS: usize = 20;

/// How much is killed, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Kills of each process that must land with work in flight
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub kills: u32,
    /// Orders per second
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
}

/// Runs the scenario on a stack whose processes are all up, and leaves them up.
pub async fn run(stack: &mut Stack, plan: Plan) -> anyhow::Result<Report> {
    let sources = Sources::of(stack)?;
    let shop = Arc::new(
        Shop::open(stack, "kill", CUSTOMERS, PRODUCTS)
            .await
            .context("cannot open the shop")?,
    );
    let watch = LogWatch::start(&sources.kafka, &events::topics::ALL)?;
    let load = Load::start(shop, plan.rate);
    let lookout = Lookout {
        sources: &sources,
        load: &load,
        watch: &watch,
    };
    let mut hunt = Hunt {
        stack,
        lookout,
        recovering: BTreeMap::new(),
    };
    let mut victims = BTreeMap::new();
    let mut transmitting = BTreeSet::new();
    for round in 1..=plan.kills {
        for (process, database) in PROCESSES {
            let victim: &mut Victim = victims.entry(process).or_default();
            let killed = hunt
                .kill_with_work_in_flight(process, database, round, victim)
                .await;
            transmitting.extend(killed.with_context(|| format!("kill {round} of {process}"))?);
        }
        tracing::info!("killed each process {round} of {} times", plan.kills);
    }
    for (process, recovering) in std::mem::take(&mut hunt.recovering) {
        victims
            .entry(process)
            .or_default()
            .recovered(finish(process, recovering).await?);
    }
    let requests = load.stop().await;
    tracing::info!("the load has ended; waiting until everything has had its effects");
    let ledger = Ledger::read(&sources, SETTLE).await?;
    let log = watch.stop().await;
    let ambiguous = mails_in_state(&mut sources.connect("email").await?, "ambiguous").await?;
    let unexplained = ambiguous.difference(&transmitting).count();
    Ok(Report {
        plan,
        victims,
        requests,
        log,
        unexplained,
        ledger,
    })
}

type Recovery = JoinHandle<anyhow::Result<Duration>>;

struct Hunt<'a> {
    stack: &'a mut Stack,
    lookout: Lookout<'a>,
    /// Processes that were killed and may not work again yet.
    recovering: BTreeMap<&'static str, Recovery>,
}

impl Hunt<'_> {
    /// Repeats the kill until it lands. Returns the mails that were being transmitted at any of them.
    async fn kill_with_work_in_flight(
        &mut self,
        process: &'static str,
        database: Option<&str>,
        round: u32,
        victim: &mut Victim,
    ) -> anyhow::Result<BTreeSet<i64>> {
        let mut transmitting = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            if let Some(recovering) = self.recovering.remove(process) {
                victim.recovered(finish(process, recovering).await?);
            }
            pause().await;
            let mut prey = self.lookout.prey(database, round).await?;
            let before = prey.work().await?;
            self.stack.kill(process, 1)?;
            let killed = Instant::now();
            let died = prey.look_at_the_dead(&before).await?;
            transmitting.extend(&died.transmitting);
            self.stack.start(process, 1).await?;
            self.recovering
                .insert(process, tokio::spawn(prey.recovery(killed, &died)));
            if died.in_flight > 0 {
                victim.landed(died.in_flight);
                return Ok(transmitting);
            }
            victim.missed += 1;
        }
        bail!("{ATTEMPTS} kills came when nothing was in flight")
    }
}

/// What is seen of the system from outside.
#[derive(Clone, Copy)]
struct Lookout<'a> {
    sources: &'a Sources,
    load: &'a Load,
    watch: &'a LogWatch,
}

impl<'a> Lookout<'a> {
    async fn prey(self, database: Option<&str>, round: u32) -> anyhow::Result<Prey<'a>> {
        let Some(database) = database else {
            return Ok(Prey::server(self.load.witness()));
        };
        let mails = match (database, round % 2) {
            // Every other time it dies with a mail in its hands, otherwise with a record.
            ("email", 1) => Mails::First,
            ("email", _) => Mails::Also,
            _ => Mails::None,
        };
        Prey::consumer(self.sources, database, self.watch, mails).await
    }
}

async fn finish(process: &str, recovering: Recovery) -> anyhow::Result<Duration> {
    recovering
        .await
        .context("watching panicked")?
        .with_context(|| format!("{process} after its kill"))
}

/// So that kills fall on every phase of a process's life.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(50..500))).await;
}
