//! A rolling restart of gateway and app-service under load: SIGTERM, wait, start again, one replica after another. Every request is
//! answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::json;
use stack::{Ended, Stack};
use uuid::Uuid;

use crate::arena::Folder;
use crate::benches::unlimited;
use crate::load::keep_alive::{Answers, KeepAlive, Replica};
use crate::load::shop::Shop;
use crate::table::{Table, number};

const REPLICAS: u16 = 2;
const ROLLED: [&str; 2] = ["app-service", "gateway"];
const PRODUCTS: usize = 20;
/// One request in this many is an order: a request that nobody may send again on a guess.
const ORDERS: usize = 4;
/// Answers before the first restart, and between two.
const MOMENTUM: u64 = 200;

/// How much is restarted, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Restarts of each replica
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Client connections, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
}

/// What a rolling restart showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub connections: u32,
    pub answers: Answers,
    /// How long each end took from SIGTERM on, in milliseconds, by process.
    pub stops_ms: BTreeMap<&'static str, Vec<u64>>,
    /// Replicas that did not end by themselves.
    pub killed: u32,
}

/// What the stack has to be for this.
pub fn replicas() -> BTreeMap<String, u16> {
    ROLLED.map(|name| (name.to_owned(), REPLICAS)).into()
}

/// What the processes must be told: routes without limits, since all clients have one address.
pub fn environment(folder: &Folder) -> anyhow::Result<Vec<(String, String)>> {
    unlimited::environment(&stack::find_root()?, folder.path())
}

/// Runs the scenario on a stack with [`replicas`] that are all up and were told [`environment`], and leaves them up.
pub async fn run(stack: &mut Stack, plan: Plan) -> anyhow::Result<Report> {
    let shop = Shop::open(stack, "roll", 1, PRODUCTS)
        .await
        .context("cannot open the shop")?;
    let load = KeepAlive::start(
        gateways(stack)?,
        plan.connections as usize,
        Arc::new(requests(stack, &shop)),
    );
    let mut report = Report {
        connections: plan.connections,
        answers: Answers::default(),
        stops_ms: BTreeMap::new(),
        killed: 0,
    };
    for round in 1..=plan.rounds {
        for process in ROLLED {
            for replica in 1..=REPLICAS {
                gain_momentum(&load).await?;
                let told = Instant::now();
                let ended = stack.stop(process, replica).await?;
                let took = u64::try_from(told.elapsed().as_millis()).unwrap_or(u64::MAX);
                report.stops_ms.entry(process).or_default().push(took);
                report.killed += u32::from(matches!(ended, Ended::Killed));
                stack.start(process, replica).await?;
            }
        }
        tracing::info!("restarted every replica {round} of {} times", plan.rounds);
    }
    gain_momentum(&load).await?;
    report.answers = load.stop().await?;
    Ok(report)
}

fn gateways(stack: &Stack) -> anyhow::Result<Vec<Replica>> {
    let gateway = |replica| {
        let http = stack.http_url("gateway", replica)?;
        Ok(Replica {
            http: http.trim_start_matches("http://").parse()?,
            admin: stack.admin_url("gateway", replica)?,
        })
    };
    (1..=REPLICAS).map(gateway).collect()
}

/// Reads of products, and now and then an order by the shop's one customer.
fn requests(stack: &Stack, shop: &Shop) -> impl Fn(usize) -> Vec<u8> + Send + Sync + use<> {
    let token = stack.token("roll-0", "orders:write", Some("roll-0@example.com"));
    let paths: Vec<String> = (0..PRODUCTS).map(|product| shop.product_path(product)).collect();
    move |number| {
        let path = &paths[number % PRODUCTS];
        if !number.is_multiple_of(ORDERS) {
            return format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n").into_bytes();
        }
        let product = path.rsplit('/').next().unwrap_or_default();
        let body = json!({"lines": [{"product_id": product, "quantity": 1}]}).to_string();
        format!(
            "POST /v1/orders HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\nidempotency-key: {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            Uuid::now_v7(),
            body.len(),
        )
        .into_bytes()
    }
}

/// A restart counts only when requests are flowing.
async fn gain_momentum(load: &KeepAlive) -> anyhow::Result<()> {
    let (before, deadline) = (load.answered(), Instant::now() + Duration::from_secs(30));
    while load.answered() < before + MOMENTUM {
        ensure!(Instant::now() < deadline, "the load does not flow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl Report {
    /// What does not hold, in words; nothing: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let answers = &self.answers;
        if answers.unanswered > 0 {
            failures.push(format!(
                "{} requests were left without an answer",
                answers.unanswered
            ));
        }
        for (status, count) in answers.by_status.range(300..) {
            failures.push(format!("{count} requests were answered with {status}"));
        }
        if self.killed > 0 {
            failures.push(format!("{} replicas did not end by themselves", self.killed));
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} connections\n", self.connections)?;
        let mut table = Table::new(["restarted", "times", "longest stop ms"]);
        for (process, stops) in &self.stops_ms {
            let longest = stops.iter().max().copied().unwrap_or_default();
            table.row([
                (*process).to_owned(),
                stops.len().to_string(),
                longest.to_string(),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        let answers = &self.answers;
        let count = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
        let mut table = Table::new(["requests", "count"]);
        for (status, answered) in &answers.by_status {
            table.row([format!("answered with {status}"), count(*answered)]);
        }
        table.row(["without an answer".to_owned(), count(answers.unanswered)]);
        table.row(["all".to_owned(), count(answers.requests())]);
        writeln!(f, "{}", table.render())?;
        writeln!(
            f,
            "connections that an answer ended: {}; refused before anything was sent: {}",
            answers.told_to_go, answers.refused_connections
        )?;
        match self.failures().as_slice() {
            [] => writeln!(f, "passed"),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
