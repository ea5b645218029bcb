//! How fast the relay publishes what is waiting in the outbox, against a producer that sends the same records and does nothing else.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use events::topics::ORDERS;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::Serialize;

use crate::Arena;
use crate::benches::backlog::{Backlog, PAYLOAD_BYTES};
use crate::benches::{bare, cpu};
use crate::ledger::sources::Sources;
use crate::spread::Spread;
use crate::table::{Table, number};

/// How often the end of the topic is looked at. Each look asks the broker about each partition, which is work that the bare producer
/// does not share the machine with.
const LOOK: Duration = Duration::from_millis(50);

/// How long the relay may publish nothing before it is given up.
const STALLED: Duration = Duration::from_secs(30);

/// How long the broker may take for one answer.
const BROKER: Duration = Duration::from_secs(5);

/// How much is drained, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Facts that wait, for each size that is measured
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100_000, 1_000_000], value_parser = clap::value_parser!(i64).range(1_000..=100_000_000))]
    pub rows: Vec<i64>,
    /// How often each is drained
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
}

/// One size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Line {
    pub rows: i64,
    /// Facts per second.
    pub relay: Spread,
    pub bare: Spread,
    /// By round: relay ÷ bare producer.
    pub ratio: Spread,
    /// CPU seconds for a million facts: of app-service, of the server's sessions that it reads through, of the bare producer.
    pub relay_cpu: Spread,
    pub session_cpu: Spread,
    pub bare_cpu: Spread,
    /// Key, payload and headers of a record.
    pub record_bytes: usize,
    /// Records beyond one for each fact, over all rounds.
    pub duplicates: i64,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub rounds: u32,
    pub lines: Vec<Line>,
}

/// Measures on servers without processes, and leaves them so.
pub async fn run(arena: &mut Arena, plan: &Plan) -> anyhow::Result<Report> {
    let sources = Sources::of(&arena.stack)?;
    let mut backlog = Backlog::open(&arena.stack.postgres_superuser_url("app")).await?;
    let mut lines = Vec::new();
    for rows in &plan.rows {
        let mut rounds = Vec::new();
        for round in 1..=plan.rounds {
            tracing::info!("{} facts, round {round} of {}", number(*rows), plan.rounds);
            backlog.fill(ORDERS, *rows).await?;
            backlog.skip_invalidator().await?;
            let drained = drain(arena, &sources, &mut backlog, *rows).await?;
            backlog.clear().await?;
            let kafka = sources.kafka.clone();
            let count = rows.unsigned_abs();
            let sending = move || bare::send(&kafka, ORDERS, partitions(), count);
            let bare = tokio::task::spawn_blocking(sending)
                .await
                .context("the producer panicked")??;
            rounds.push((drained, bare));
        }
        lines.push(line(*rows, &rounds));
    }
    Ok(Report {
        rounds: plan.rounds,
        lines,
    })
}

/// From the first look at which a record was there to the one at which all were.
struct Drained {
    per_second: f64,
    relay_cpu: f64,
    session_cpu: f64,
    duplicates: i64,
}

async fn drain(
    arena: &mut Arena,
    sources: &Sources,
    backlog: &mut Backlog,
    rows: i64,
) -> anyhow::Result<Drained> {
    let ends = Ends::open(sources)?;
    let before = ends.read().await?;
    arena.stack.start("app-service", 1).await?;
    let pid = arena.stack.pid("app-service", 1)?;
    let sample = |published: i64, sessions: &[u32]| -> anyhow::Result<Sample> {
        Ok(Sample {
            at: Instant::now(),
            published,
            relay: cpu::of(pid)?,
            sessions: cpu::of_all(sessions)?,
        })
    };
    // They are there once it has published something.
    let mut sessions = Vec::new();
    let mut first: Option<Sample> = None;
    let (mut published, mut moved) = (0, Instant::now());
    let last = loop {
        let now = ends.read().await? - before;
        if now > published {
            (published, moved) = (now, Instant::now());
        }
        if published >= rows {
            break sample(published, &sessions)?;
        }
        if published > 0 && first.is_none() {
            sessions = backlog.relay_sessions().await?;
            first = Some(sample(published, &sessions)?);
        }
        ensure!(
            moved.elapsed() < STALLED,
            "the relay stands still at {published} of {rows}"
        );
        tokio::time::sleep(LOOK).await;
    };
    let first = first.context("too few facts: all of them were published between two looks")?;
    // Its last page is acknowledged by then, and a second copy would follow at once.
    arena.stack.stop("app-service", 1).await?;
    let facts = (last.published - first.published) as f64;
    let per_million = |before: Duration, after: Duration| (after - before).as_secs_f64() / facts * 1e6;
    Ok(Drained {
        per_second: facts / (last.at - first.at).as_secs_f64(),
        relay_cpu: per_million(first.relay, last.relay),
        session_cpu: per_million(first.sessions, last.sessions),
        duplicates: ends.read().await? - before - rows,
    })
}

struct Sample {
    at: Instant,
    published: i64,
    relay: Duration,
    sessions: Duration,
}

fn partitions() -> i32 {
    let topic = events::topics::ALL.iter().find(|topic| topic.name == ORDERS);
    topic.map_or(0, |topic| topic.partitions)
}

/// Asks the broker where the topic ends.
struct Ends(Option<Arc<BaseConsumer>>);

impl Ends {
    fn open(sources: &Sources) -> anyhow::Result<Ends> {
        let client = sources.kafka.client("lab")?.create();
        Ok(Ends(Some(Arc::new(
            client.context("cannot make a Kafka client")?,
        ))))
    }

    /// Records in all partitions.
    async fn read(&self) -> anyhow::Result<i64> {
        let client = self.0.clone().expect("only drop takes it");
        let asking = tokio::task::spawn_blocking(move || {
            let end = |partition| Ok(client.fetch_watermarks(ORDERS, partition, BROKER)?.1);
            (0..partitions()).map(end).sum::<anyhow::Result<i64>>()
        });
        asking.await.context("asking Kafka panicked")?
    }
}

/// Dropping a consumer blocks.
impl Drop for Ends {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}

fn line(rows: i64, rounds: &[(Drained, bare::Run)]) -> Line {
    let millions = rows as f64 / 1e6;
    let spread = |of: &dyn Fn(&(Drained, bare::Run)) -> f64| Spread::of(rounds.iter().map(of));
    Line {
        rows,
        relay: spread(&|(relay, _)| relay.per_second),
        bare: spread(&|(_, bare)| bare.per_second),
        ratio: spread(&|(relay, bare)| relay.per_second / bare.per_second),
        relay_cpu: spread(&|(relay, _)| relay.relay_cpu),
        session_cpu: spread(&|(relay, _)| relay.session_cpu),
        bare_cpu: spread(&|(_, bare)| bare.cpu.as_secs_f64() / millions),
        record_bytes: rounds.first().map_or(0, |(_, bare)| bare.record_bytes),
        duplicates: rounds.iter().map(|(relay, _)| relay.duplicates).sum(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.lines.first().map_or(0, |line| line.record_bytes);
        writeln!(
            f,
            "payloads of {PAYLOAD_BYTES} B, records of {bytes} B with key and headers; {} rounds: median (lowest to highest)\n",
            self.rounds
        )?;
        let mut rates = Table::new([
            "facts",
            "relay per second",
            "bare producer",
            "relay / bare",
            "duplicates",
        ]);
        let mut cpu = Table::new([
            "CPU s per million",
            "relay",
            "its PostgreSQL sessions",
            "bare producer",
        ]);
        for line in &self.lines {
            let rows = number(line.rows);
            rates.row([
                rows.clone(),
                format!("{:.0}", line.relay),
                format!("{:.0}", line.bare),
                line.ratio.to_string(),
                number(line.duplicates),
            ]);
            cpu.row([
                rows,
                line.relay_cpu.to_string(),
                line.session_cpu.to_string(),
                line.bare_cpu.to_string(),
            ]);
        }
        writeln!(f, "{}\n{}", rates.render(), cpu.render())?;
        let medians = || self.lines.iter().map(|line| line.relay.median);
        let (slowest, fastest) = (
            medians().fold(f64::INFINITY, f64::min),
            medians().fold(0.0, f64::max),
        );
        writeln!(f, "slowest size / fastest size: {:.2}", slowest / fastest)
    }
}
