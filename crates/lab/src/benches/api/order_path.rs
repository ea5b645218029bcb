//! An order, its floor, and where its time goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use stack::Server;
use uuid::Uuid;

use super::Bench;
use super::report::OrderSample;
use crate::Arena;
use crate::benches::pgbench::pgbench;
use crate::benches::replay::{self, Transaction};

/// Different orders that are captured; pgbench repeats one of them at random each time.
const CAPTURED: u32 = 50;
/// app-service's own default: as many transactions as it can have open.
const CLIENTS: usize = 10;
/// A run of pgbench never comes that far.
const RUNS: u64 = 10_000_000;
/// More than there are rounds over HTTP.
const OTHER_ROUNDS: u64 = 1_000;

/// Steps of a write, as app-service measures them: histogram and its label.
const STEPS: &str = "write_step_duration_seconds_sum{";

fn metrics_url(arena: &Arena) -> anyhow::Result<String> {
    Ok(format!("{}/metrics", arena.stack.admin_url("app-service", 1)?))
}

/// What is needed to run the same SQL without app-service.
pub(crate) struct OrderPath {
    scripts: Vec<PathBuf>,
    /// The same without the insert into the outbox.
    scripts_without_outbox: Vec<PathBuf>,
    database_url: String,
    metrics_url: String,
}

impl OrderPath {
    /// Captures what some orders send to PostgreSQL.
    pub(crate) async fn prepare(bench: &Bench, arena: &Arena) -> anyhow::Result<OrderPath> {
        let status = arena.stack.status().await?;
        let postgres = status
            .servers
            .get(Server::Postgres.name())
            .context("the stack runs no PostgreSQL")?;
        let orders = bench.orders(&bench.buyers()?, CAPTURED);
        let keys: BTreeSet<String> = orders.iter().filter_map(|order| order.key.clone()).collect();
        let captured = replay::capture(
            &arena.stack.postgres_superuser_url("app"),
            &postgres.log,
            |statement| {
                statement
                    .sql
                    .to_ascii_lowercase()
                    .contains("insert into \"orders\"")
            },
            async {
                bench.target.round(orders, 1).await?.ids()?;
                Ok(())
            },
        )
        .await?;
        ensure!(
            captured.len() == CAPTURED as usize,
            "of {CAPTURED} orders, PostgreSQL's log shows {}",
            captured.len()
        );
        let known: BTreeSet<Uuid> = bench
            .shop
            .products
            .iter()
            .chain(bench.shop.customers.iter().map(|buyer| &buyer.id))
            .map(|id| id.parse().context("an id is a UUID"))
            .collect::<anyhow::Result<_>>()?;
        let folder = arena.folder.path();
        let write = |name: String, transaction: &Transaction| {
            let path = folder.join(name);
            std::fs::write(&path, replay::script(transaction, &known, &keys))
                .with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        let (mut scripts, mut scripts_without_outbox) = (Vec::new(), Vec::new());
        for (number, transaction) in captured.iter().enumerate() {
            scripts.push(write(format!("order-{number}.sql"), transaction)?);
            let (facts, others): (Transaction, Transaction) =
                transaction.iter().cloned().partition(replay::states_facts);
            ensure!(
                facts.len() == 1,
                "an order states its facts in {} statements",
                facts.len()
            );
            scripts_without_outbox.push(write(format!("order-{number}-without-outbox.sql"), &others)?);
        }
        Ok(OrderPath {
            scripts,
            scripts_without_outbox,
            database_url: arena.stack.postgres_url("app_runtime", "app"),
            metrics_url: metrics_url(arena)?,
        })
    }

    /// app-service has been restarted, and listens elsewhere.
    pub(crate) fn follow(&mut self, arena: &Arena) -> anyhow::Result<()> {
        self.metrics_url = metrics_url(arena)?;
        Ok(())
    }

    /// Orders over HTTP, then the same SQL by pgbench.
    pub(crate) async fn measure(&self, bench: &Bench, number: u32) -> anyhow::Result<OrderSample> {
        let orders = bench.orders(&bench.buyers()?, bench.plan.writes);
        let before = self.steps().await?;
        let round = bench
            .target
            .round(orders, usize::from(bench.plan.connections))
            .await?;
        // Each of them, or the rate would be one of refusals.
        round.ids()?;
        let after = self.steps().await?;
        ensure!(
            !after.is_empty(),
            "app-service does not measure the steps of a write"
        );
        let floor_per_second = self.pgbench(bench, &self.scripts, number.into()).await?;
        let count = round.answers.len() as f64;
        Ok(OrderSample {
            per_second: count / round.seconds,
            floor_per_second,
            steps: after
                .into_iter()
                .map(|(step, sum)| {
                    let before = before.get(&step).copied().unwrap_or(0.0);
                    (step, (sum - before) / count)
                })
                .collect(),
        })
    }

    /// Orders per second by pgbench, with the insert into the outbox and without it. Either comes first in every other round: the
    /// tables grow meanwhile.
    pub(crate) async fn floors(&self, bench: &Bench, number: u32) -> anyhow::Result<[f64; 2]> {
        let run = 2 * u64::from(number) + OTHER_ROUNDS;
        let scripts = [&self.scripts, &self.scripts_without_outbox];
        let mut rates = [0.0; 2];
        for turn in 0..2 {
            let which = (turn + number as usize) % 2;
            rates[which] = self.pgbench(bench, scripts[which], run + which as u64).await?;
        }
        Ok(rates)
    }

    /// `number`: another one each time, because the ids come from it.
    async fn pgbench(&self, bench: &Bench, scripts: &[PathBuf], number: u64) -> anyhow::Result<f64> {
        let length = Duration::from_secs(bench.plan.floor_seconds.into());
        let floor = pgbench(&self.database_url, scripts, CLIENTS, length, number * RUNS).await?;
        ensure!(
            floor.failed == 0,
            "{} of pgbench's transactions failed",
            floor.failed
        );
        Ok(floor.per_second)
    }

    /// Seconds that all writes so far have spent in each step; nothing before the first.
    async fn steps(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let text = reqwest::get(&self.metrics_url).await?.text().await?;
        Ok(text
            .lines()
            .filter_map(|line| {
                let (labels, value) = line.strip_prefix(STEPS)?.rsplit_once("} ")?;
                let step = labels.split('"').nth(1)?;
                Some((step.to_owned(), value.parse().ok()?))
            })
            .collect())
    }
}
