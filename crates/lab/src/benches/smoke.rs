//! Requests per second of a cached read and of an order, through the gateway: a closed loop, so what is measured is what the system
//! and the sender do on one machine together. Only ratios mean something elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Arena;
use crate::arena::Folder;
use crate::benches::direct::Direct;
use crate::benches::unlimited;
use crate::load::shop::{Outcome, Shop};
use crate::table::{Table, number};
use anyhow::{Context as _, ensure};
use serde::Serialize;

/// Senders, each with one request at a time.
const CONNECTIONS: usize = 16;

const ROUNDS: usize = 3;

/// One measurement of one kind.
const ROUND: Duration = Duration::from_secs(3);

/// Before the first round.
const WARM_UP: Duration = Duration::from_secs(1);

const PRODUCTS: usize = 20;

/// What is measured.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A cached product through the gateway.
    Read,
    /// The same at app-service, as the gateway asks for it.
    DirectRead,
    /// An order through the gateway.
    Order,
}

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: &'static str,
    /// Successful requests per second: the median of the rounds, the lowest and the highest.
    pub per_second: f64,
    pub lowest: f64,
    pub highest: f64,
    /// Latencies over all rounds, in microseconds.
    pub p50_us: u64,
    pub p99_us: u64,
    /// Requests that were not answered with success.
    pub other_answers: u64,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub connections: usize,
    pub rounds: usize,
    pub lines: Vec<Line>,
    /// Reads per second through the gateway ÷ at app-service.
    pub gateway_ratio: f64,
    /// Reads ÷ orders per second, both through the gateway.
    pub read_ratio: f64,
}

/// What the processes must be told for this benchmark.
pub fn environment(folder: &Folder) -> anyhow::Result<Vec<(String, String)>> {
    unlimited::environment(&stack::find_root()?, folder.path())
}

/// Measures on a stack whose processes are all up and were told [`environment`].
pub async fn run(arena: &Arena) -> anyhow::Result<Report> {
    let shop = Shop::open(&arena.stack, "smoke", CONNECTIONS, PRODUCTS)
        .await
        .context("cannot open the shop")?;
    let shop = Arc::new(shop);
    let kinds = [Kind::Read, Kind::DirectRead, Kind::Order];
    let mut samples = [const { Vec::new() }; 3];
    for kind in kinds {
        round(&shop, arena, kind, WARM_UP).await?;
    }
    // Taking turns, so that whatever else the machine does falls on all of them.
    for number in 1..=ROUNDS {
        tracing::info!("round {number} of {ROUNDS}");
        for (kind, samples) in kinds.into_iter().zip(&mut samples) {
            samples.push(round(&shop, arena, kind, ROUND).await?);
        }
    }
    let [read, direct, order] = samples;
    let lines = vec![
        line("cached read through the gateway", &read)?,
        line("cached read at app-service", &direct)?,
        line("order through the gateway", &order)?,
    ];
    let (gateway_ratio, read_ratio) = (
        lines[0].per_second / lines[1].per_second,
        lines[0].per_second / lines[2].per_second,
    );
    Ok(Report {
        connections: CONNECTIONS,
        rounds: ROUNDS,
        lines,
        gateway_ratio,
        read_ratio,
    })
}

/// The answers of one round.
#[derive(Default)]
struct Sample {
    /// Of successful requests.
    latencies_us: Vec<u64>,
    other_answers: u64,
    seconds: f64,
}

async fn round(shop: &Arc<Shop>, arena: &Arena, kind: Kind, length: Duration) -> anyhow::Result<Sample> {
    // An assertion lives for a minute, and so for a round.
    let direct = Arc::new(Direct::new(&arena.stack, arena.folder.path())?);
    let begun = Instant::now();
    let senders = (0..CONNECTIONS).map(|sender| {
        let (shop, direct) = (shop.clone(), direct.clone());
        tokio::spawn(async move {
            let mut sample = Sample::default();
            for number in sender.. {
                let sent = Instant::now();
                if sent - begun >= length {
                    break;
                }
                let outcome = match kind {
                    Kind::Read => shop.look(number).await,
                    Kind::DirectRead => direct.look(&shop.product_path(number)).await,
                    Kind::Order => shop.place(sender, number).await.0,
                };
                match outcome {
                    Outcome::Ok => sample
                        .latencies_us
                        .push(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX)),
                    Outcome::Refused | Outcome::Shed | Outcome::Failed => sample.other_answers += 1,
                }
            }
            sample
        })
    });
    let mut all = Sample::default();
    for sender in senders.collect::<Vec<_>>() {
        let sample = sender.await.context("a sender panicked")?;
        all.latencies_us.extend(sample.latencies_us);
        all.other_answers += sample.other_answers;
    }
    all.seconds = begun.elapsed().as_secs_f64();
    Ok(all)
}

fn line(name: &'static str, samples: &[Sample]) -> anyhow::Result<Line> {
    let mut rates: Vec<f64> = samples
        .iter()
        .map(|sample| sample.latencies_us.len() as f64 / sample.seconds)
        .collect();
    rates.sort_by(f64::total_cmp);
    let mut latencies: Vec<u64> = samples
        .iter()
        .flat_map(|sample| &sample.latencies_us)
        .copied()
        .collect();
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "{name}: no request succeeded");
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    Ok(Line {
        name,
        per_second: rates[rates.len() / 2],
        lowest: rates[0],
        highest: rates[rates.len() - 1],
        p50_us: percentile(50),
        p99_us: percentile(99),
        other_answers: samples.iter().map(|sample| sample.other_answers).sum(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            connections,
            rounds,
            lines,
            ..
        } = self;
        writeln!(
            f,
            "{connections} connections, {rounds} rounds of {} s\n",
            ROUND.as_secs()
        )?;
        let mut table = Table::new([
            "",
            "per second",
            "lowest",
            "highest",
            "p50 ms",
            "p99 ms",
            "other answers",
        ]);
        for line in lines {
            let [rate, lowest, highest] =
                [line.per_second, line.lowest, line.highest].map(|rate| number(rate.round() as i64));
            let [p50, p99] = [line.p50_us, line.p99_us].map(|us| format!("{:.2}", us as f64 / 1000.0));
            table.row([
                line.name.to_owned(),
                rate,
                lowest,
                highest,
                p50,
                p99,
                line.other_answers.to_string(),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        writeln!(f, "these depend on the machine; the ratios less so:")?;
        writeln!(
            f,
            "reads through the gateway / at app-service: {:.2}",
            self.gateway_ratio
        )?;
        writeln!(f, "reads / orders through the gateway: {:.1}", self.read_ratio)
    }
}
