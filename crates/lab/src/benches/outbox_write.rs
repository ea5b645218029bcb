//! What the outbox costs a write: orders over HTTP against pgbench running the same SQL, and that SQL without its insert into the outbox.

use std::fmt;

use serde::Serialize;

use crate::Arena;
use crate::benches::api::{self, Bench, OrderPath};
use crate::benches::backlog::Backlog;
use crate::spread::Spread;
use crate::table::Table;

/// How much is sent.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Connections, each with one order at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub connections: u16,
    /// Orders in a round
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub orders: u32,
    /// Rounds; the result is their median
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long pgbench runs in a round, with the outbox and without it, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub floor_seconds: u32,
}

/// The result.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report {
    pub rounds: u32,
    /// Orders per second.
    pub http: Spread,
    /// The same SQL while app-service publishes what it states, as over HTTP.
    pub pgbench: Spread,
    /// By round: HTTP ÷ that.
    pub ratio: Spread,
    /// The same SQL with app-service stopped, with the insert into the outbox and without it.
    pub pgbench_alone: Spread,
    pub pgbench_without_outbox: Spread,
    /// By round: how many percent fewer orders pgbench gets done because of the outbox.
    pub outbox_percent: Spread,
}

/// Measures on servers without processes, and leaves app-service up.
pub async fn run(arena: &mut Arena, plan: Plan) -> anyhow::Result<Report> {
    arena.stack.start("app-service", 1).await?;
    let api = api::Plan {
        connections: plan.connections,
        writes: plan.orders,
        // Not read here.
        reads: 0,
        rounds: plan.rounds,
        floor_seconds: plan.floor_seconds,
    };
    let mut bench = Bench::open(arena, api).await?;
    let mut path = OrderPath::prepare(&bench, arena).await?;
    let mut backlog = Backlog::open(&arena.stack.postgres_superuser_url("app")).await?;
    let mut samples = Vec::new();
    // The first round warms connections and plans up.
    for number in 0..=plan.rounds {
        tracing::info!("round {number} of {}", plan.rounds);
        let order = path.measure(&bench, number).await?;
        // What the insert costs is seen without a relay that has more to do because of it.
        arena.stack.stop("app-service", 1).await?;
        let floors = path.floors(&bench, number).await?;
        backlog.clear().await?;
        arena.stack.start("app-service", 1).await?;
        bench.follow(arena)?;
        path.follow(arena)?;
        if number > 0 {
            samples.push((order, floors));
        }
    }
    Ok(report(plan, &samples))
}

/// A round: over HTTP and its floor, then pgbench alone, with the outbox and without it.
type Sample = (api::OrderSample, [f64; 2]);

fn report(plan: Plan, samples: &[Sample]) -> Report {
    let spread = |of: &dyn Fn(&Sample) -> f64| Spread::of(samples.iter().map(of));
    Report {
        rounds: plan.rounds,
        http: spread(&|(order, _)| order.per_second),
        pgbench: spread(&|(order, _)| order.floor_per_second),
        ratio: spread(&|(order, _)| order.per_second / order.floor_per_second),
        pgbench_alone: spread(&|(_, [with, _])| *with),
        pgbench_without_outbox: spread(&|(_, [_, without])| *without),
        outbox_percent: spread(&|(_, [with, without])| 100.0 * (1.0 - with / without)),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds;
        writeln!(
            f,
            "orders per second; {rounds} rounds: median (lowest to highest)\n"
        )?;
        let mut table = Table::new(["", "per second"]);
        for (name, rate) in [
            ("over HTTP", self.http),
            ("pgbench with the same SQL, the relay beside it", self.pgbench),
            ("pgbench with the same SQL, alone", self.pgbench_alone),
            (
                "without the insert into the outbox, alone",
                self.pgbench_without_outbox,
            ),
        ] {
            table.row([name.to_owned(), format!("{rate:.0}")]);
        }
        writeln!(f, "{}", table.render())?;
        writeln!(f, "over HTTP / pgbench with the relay beside it: {}", self.ratio)?;
        writeln!(f, "what the insert costs: {:.1} %", self.outbox_percent)
    }
}
