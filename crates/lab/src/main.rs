//! `cargo lab`: chaos, benchmarks and the ledger.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use lab::benches::{Bench, api, cache_read, idle, outbox_write, relay_drain, relay_latency, smoke, stampede};
use lab::ledger::sources::Sources;
use lab::ledger::{Ledger, Verdict};
use lab::scenarios::{Scenario, cache, kafka_down, kill, redis_trouble, relay_kill, roll};
use lab::{Arena, Folder, fuzz};
use serde::Serialize;

/// Faults, measurements and the ledger that tells whether the system kept its promises.
#[derive(Parser)]
#[command(name = "lab", bin_name = "cargo lab")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure, on a stack of its own
    Bench {
        #[command(subcommand)]
        which: Bench,
        #[command(flatten)]
        output: Output,
    },
    /// Break things under load, on a stack of its own: exits with 1 when something that the scenario checks did not hold
    Chaos {
        #[command(subcommand)]
        which: Scenario,
        #[command(flatten)]
        output: Output,
    },
    /// The bare handler of `bench cache-read`, which starts it
    #[command(hide = true)]
    CacheReadFloor,
    /// One of the reading processes of `bench stampede`, which starts them
    #[command(hide = true)]
    StampedeReader,
    /// Generate requests from the API's document and hold the answers against it, on a stack of its own: schemathesis, with all
    /// its checks
    Fuzz(fuzz::Plan),
    /// Compare what the databases of the running `cargo stack up` hold: exits with 0 when it balances, 1 when it does not, and 75
    /// when the system did not stand still
    Ledger {
        /// How long to wait until the consumers have caught up, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
struct Output {
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
}

/// sysexits' EX_TEMPFAIL: ask again later.
const CATCHING_UP: u8 = 75;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("lab=info,librdkafka=off,warn")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let verb = Cli::parse().verb;
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads left");
    let outcome = runtime.block_on(run(verb));
    // librdkafka's and the processes' threads may still be ending.
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.unwrap_or_else(|error| {
        eprintln!("lab: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Bench { which, output } => match which {
            Bench::Smoke => bench_smoke(&output).await,
            Bench::RelayDrain(plan) => bench_relay_drain(&plan, &output).await,
            Bench::RelayLatency(plan) => bench_relay_latency(plan, &output).await,
            Bench::Idle(plan) => bench_idle(plan, &output).await,
            Bench::Api(plan) => bench_api(plan, &output).await,
            Bench::CacheRead(plan) => bench_cache_read(plan, &output).await,
            Bench::Stampede(plan) => bench_stampede(&plan, &output).await,
            Bench::OutboxWrite(plan) => bench_outbox_write(plan, &output).await,
        },
        Verb::Chaos { which, output } => match which {
            Scenario::Kill(plan) => chaos_kill(plan, &output).await,
            Scenario::RelayKill(plan) => chaos_relay_kill(plan, &output).await,
            Scenario::KafkaDown(plan) => chaos_kafka_down(plan, &output).await,
            Scenario::Cache(plan) => chaos_cache(plan, &output).await,
            Scenario::RedisTrouble(plan) => chaos_redis_trouble(plan, &output).await,
            Scenario::Roll(plan) => chaos_roll(plan, &output).await,
        },
        Verb::CacheReadFloor => {
            cache_read::serve_floor().await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::StampedeReader => {
            stampede::read().await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Fuzz(plan) => fuzz_api(plan).await,
        Verb::Ledger { wait, output } => {
            let sources = Sources::of_running(&stack::find_root()?)?;
            let ledger = Ledger::read(&sources, Duration::from_secs(wait)).await?;
            print(&ledger, &output)?;
            Ok(match ledger.verdict() {
                Verdict::Balanced => ExitCode::SUCCESS,
                Verdict::NotBalanced => ExitCode::FAILURE,
                Verdict::CatchingUp => ExitCode::from(CATCHING_UP),
            })
        }
    }
}

async fn fuzz_api(plan: fuzz::Plan) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("fuzz")?;
    let mut options = folder.options(&binaries)?;
    options.fsync = false;
    let arena = Arena::up(folder, options).await?;
    let said = fuzz::run(&arena.stack, plan).await;
    arena.down().await;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", said?)?;
    Ok(ExitCode::SUCCESS)
}

async fn bench_smoke(output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-smoke")?;
    let mut options = folder.options(&binaries)?;
    options.env = smoke::environment(&folder)?;
    let arena = Arena::up(folder, options).await?;
    let report = smoke::run(&arena).await;
    arena.down().await;
    print(&report?, output)?;
    Ok(ExitCode::SUCCESS)
}

async fn bench_relay_drain(plan: &relay_drain::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-relay-drain")?;
    let options = folder.options(&binaries)?;
    let mut arena = Arena::servers(folder, options).await?;
    let report = relay_drain::run(&mut arena, plan).await;
    arena.down().await;
    print(&report?, output)?;
    Ok(ExitCode::SUCCESS)
}

async fn bench_relay_latency(plan: relay_latency::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-relay-latency")?;
    let options = folder.options(&binaries)?;
    let mut arena = relay_latency::arena(folder, options).await?;
    let report = relay_latency::run(&mut arena, plan).await;
    arena.down().await;
    print(&report?, output)?;
    Ok(ExitCode::SUCCESS)
}

async fn bench_api(plan: api::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-api")?;
    let mut options = folder.options(&binaries)?;
    options.env = api::environment();
    // Alone: what consumers make of the facts would be measured as well.
    let mut arena = Arena::servers(folder, options).await?;
    arena.stack.start("app-service", 1).await?;
    let report = api::run(&arena, plan).await;
    arena.down().await;
    print(&report?, output)?;
    Ok(ExitCode::SUCCESS)
}

async fn bench_outbox_write(plan: outbox_write::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-outbox-write")?;
    let mut options = folder.options(&binaries)?;
    options.env = api::environment();
    let mut arena = Arena::servers(folder, options).await?;
    let report = outbox_write::run(&mut arena, plan).await;
    arena.down().await;
    print(&report?, output)?;
    Ok(ExitCode::SUCCESS)
}

async fn bench_cache_read(plan: cache_read::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-cache-read")?;
    let options = folder.options(&binaries)?;
    let arena = cache_read::arena(folder, options).await?;
    let lab = std::env::current_exe().context("cannot tell where this program is")?;
    let report = cache_read::run(&arena, &lab, plan).await;
    arena.down().await;
    let report = report?;
    print(&report, output)?;
    Ok(exit_code(report.failures().is_empty()))
}

async fn bench_stampede(plan: &stampede::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-stampede")?;
    let options = folder.options(&binaries)?;
    let arena = Arena::servers(folder, options).await?;
    let lab = std::env::current_exe().context("cannot tell where this program is")?;
    let report = stampede::run(&arena.stack.redis_url("admin"), &lab, plan).await;
    arena.down().await;
    let report = report?;
    print(&report, output)?;
    Ok(exit_code(report.failures().is_empty()))
}

async fn chaos_kill(plan: kill::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("chaos-kill")?;
    let mut options = folder.options(&binaries)?;
    // The servers live on, and what they wrote survives without it.
    options.fsync = false;
    let mut arena = Arena::up(folder, options).await?;
    let report = kill::run(&mut arena.stack, plan).await;
    let passed = report.as_ref().is_ok_and(|report| report.failures().is_empty());
    finish(arena, passed).await;
    print(&report?, output)?;
    Ok(exit_code(passed))
}

async fn chaos_relay_kill(plan: relay_kill::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("chaos-relay-kill")?;
    let options = folder.options(&binaries)?;
    let mut arena = relay_kill::arena(folder, options).await?;
    let report = relay_kill::run(&mut arena.stack, plan).await;
    let passed = report
        .as_ref()
        .is_ok_and(|report| report.failures().is_empty() && report.late().is_empty());
    finish(arena, passed).await;
    print(&report?, output)?;
    Ok(exit_code(passed))
}

async fn chaos_kafka_down(plan: kafka_down::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("chaos-kafka-down")?;
    let options = folder.options(&binaries)?;
    let mut arena = Arena::servers(folder, options).await?;
    let report = kafka_down::run(&mut arena.stack, plan).await;
    let passed = report.as_ref().is_ok_and(|report| report.failures().is_empty());
    finish(arena, passed).await;
    print(&report?, output)?;
    Ok(exit_code(passed))
}

async fn chaos_cache(plan: cache::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("chaos-cache")?;
    let mut options = folder.options(&binaries)?;
    options.fsync = false;
    let mut arena = Arena::servers(folder, options).await?;
    let report = cache::run(&mut arena, plan).await;
    let passed = report.as_ref().is_ok_and(|report| report.failures().is_empty());
    finish(arena, passed).await;
    print(&report?, output)?;
    Ok(exit_code(passed))
}

async fn chaos_redis_trouble(plan: redis_trouble::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("chaos-redis-trouble")?;
    let mut options = folder.options(&binaries)?;
    options.fsync = false;
    let mut arena = Arena::servers(folder, options).await?;
    let report = redis_trouble::run(&mut arena, plan).await;
    let passed = report.as_ref().is_ok_and(|report| report.failures().is_empty());
    finish(arena, passed).await;
    print(&report?, output)?;
    Ok(exit_code(passed))
}

async fn chaos_roll(plan: roll::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("chaos-roll")?;
    let mut options = folder.options(&binaries)?;
    options.fsync = false;
    options.replicas = roll::replicas();
    options.env = roll::environment(&folder)?;
    let mut arena = Arena::up(folder, options).await?;
    let report = roll::run(&mut arena.stack, plan).await;
    let passed = report.as_ref().is_ok_and(|report| report.failures().is_empty());
    finish(arena, passed).await;
    print(&report?, output)?;
    Ok(exit_code(passed))
}

async fn bench_idle(plan: idle::Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let binaries = build()?;
    let folder = Folder::make("bench-idle")?;
    let options = folder.options(&binaries)?;
    let arena = Arena::up(folder, options).await?;
    let report = idle::run(&arena.stack, plan).await;
    arena.down().await;
    let report = report?;
    print(&report, output)?;
    Ok(exit_code(report.failures().is_empty()))
}

/// What a failed run left behind is kept for whoever asks why.
async fn finish(arena: Arena, passed: bool) {
    if passed {
        arena.down().await;
    } else {
        let kept = arena.down_and_keep().await;
        tracing::warn!("its data and logs are kept in {}", kept.display());
    }
}

fn exit_code(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Builds what a stack runs, in release, and returns where it is. Cargo shows its progress. `PLUMBLINE_STACK_BINARIES` names a folder
/// with binaries to run as they are.
fn build() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PLUMBLINE_STACK_BINARIES") {
        return Ok(folder.into());
    }
    let root = stack::find_root()?;
    let programs = lab::programs(&root)?;
    tracing::info!("building in release: {}", programs.join(", "));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&root).args(["build", "--release", "--bins"]);
    for program in &programs {
        cargo.args(["--package", program]);
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo build failed");
    Ok(release_folder(&root))
}

fn release_folder(root: &Path) -> PathBuf {
    stack::target_dir(root).join("release")
}

#[expect(
    clippy::print_stdout,
    reason = "what a user asked for goes to stdout, all else to stderr"
)]
fn print(report: &(impl fmt::Display + Serialize), output: &Output) -> anyhow::Result<()> {
    if output.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
