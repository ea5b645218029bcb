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
use crate::benches::replay;

/// Different orders that are captured; pgbench repeats one of them at random each time.
const CAPTURED: u32 = 50;
/// app-service's own default: as many transactions as it can have open.
const CLIENTS: usize = 10;
/// A run of pgbench never comes that far.
const RUNS: u64 = 10_000_000;

/// Steps of a write, as app-service measures them: histogram and its label.
const STEPS: &str = "write_step_duration_seconds_sum{";

/// What is needed to run the same SQL without app-service.
pub(super) struct OrderPath {
    scripts: Vec<PathBuf>,
    database_url: String,
    metrics_url: String,
}

impl OrderPath {
    /// Captures what some orders send to PostgreSQL.
    pub(super) async fn prepare(bench: &Bench, arena: &Arena) -> anyhow::Result<OrderPath> {
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
        let mut scripts = Vec::new();
        for (number, transaction) in captured.iter().enumerate() {
            let path = arena.folder.path().join(format!("order-{number}.sql"));
            std::fs::write(&path, replay::script(transaction, &known, &keys))
                .with_context(|| format!("cannot write {}", path.display()))?;
            scripts.push(path);
        }
        Ok(OrderPath {
            scripts,
            database_url: arena.stack.postgres_url("app_runtime", "app"),
            metrics_url: format!("{}/metrics", arena.stack.admin_url("app-service", 1)?),
        })
    }

    /// Orders over HTTP, then the same SQL by pgbench.
    pub(super) async fn measure(&self, bench: &Bench, number: u32) -> anyhow::Result<OrderSample> {
        let orders = bench.orders(&bench.buyers()?, bench.plan.writes);
        let before = self.steps().await?;
        let round = bench
            .target
            .round(orders, usize::from(bench.plan.connections))
            .await?;
        // Each of them, or the rate would be one of refusals.
        round.ids()?;
        let after = self.steps().await?;
        let floor = replay::pgbench(
            &self.database_url,
            &self.scripts,
            CLIENTS,
            Duration::from_secs(bench.plan.floor_seconds.into()),
            u64::from(number) * RUNS,
        )
        .await?;
        ensure!(
            floor.failed == 0,
            "{} of pgbench's transactions failed",
            floor.failed
        );
        let count = round.answers.len() as f64;
        Ok(OrderSample {
            per_second: count / round.seconds,
            floor_per_second: floor.per_second,
            steps: after
                .into_iter()
                .map(|(step, sum)| {
                    let before = before.get(&step).copied().unwrap_or(0.0);
                    (step, (sum - before) / count)
                })
                .collect(),
        })
    }

    /// Seconds that all writes so far have spent in each step.
    async fn steps(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let text = reqwest::get(&self.metrics_url).await?.text().await?;
        let steps: BTreeMap<String, f64> = text
            .lines()
            .filter_map(|line| {
                let (labels, value) = line.strip_prefix(STEPS)?.rsplit_once("} ")?;
                let step = labels.split('"').nth(1)?;
                Some((step.to_owned(), value.parse().ok()?))
            })
            .collect();
        ensure!(
            !steps.is_empty(),
            "app-service does not measure the steps of a write"
        );
        Ok(steps)
    }
}
