//! The process: its arguments, what its requests share, start and stop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cache::{CacheArgs, Redis};
use chassis::{Given, HttpArgs, Misconfigured, Process, ProcessArgs, Shutdown, Unavailable, duration};
use database::{Access, DatabaseArgs};
use identity::Verifier;
use kafka::KafkaArgs;
use outbox::Wake;
use tokio::task::JoinSet;

use crate::cached::Cached;
use crate::checkout::Pool;
use crate::docs::Docs;
use crate::idempotency;
use crate::jobs::expire_orders;
use crate::tails::{self, Tails};
use crate::{api, meters};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tails: tails::Args,

    /// How long an order may stay unpaid; then it is cancelled and its goods are back in stock: 1s to 30days.
    #[arg(long, env = "ORDER_EXPIRY", value_name = "DURATION", default_value = "30m", help_heading = "Jobs", value_parser = duration(SECOND..=DAY * 30))]
    order_expiry: Duration,

    /// JWK set file with the public keys that the gateway's assertions are verified with; it is re-read when it changes.
    #[arg(long, env = "ASSERTION_JWKS_FILE", value_name = "FILE", value_parser = identity::key_set_file, help_heading = "Identity")]
    assertion_jwks_file: PathBuf,

    /// Most requests that wait for a database connection at once, 0 or more; beyond it a request is answered with 503. The
    /// default is four for each connection (DB_MAX_CONNECTIONS).
    #[arg(
        long,
        env = "DB_MAX_WAITING",
        value_name = "COUNT",
        help_heading = "PostgreSQL"
    )]
    db_max_waiting: Option<usize>,

    /// How often idempotency keys that are older than 24 hours are deleted: 10ms to 1day.
    #[arg(long, env = "IDEMPOTENCY_SWEEP_INTERVAL", value_name = "DURATION", default_value = "60s", help_heading = "Jobs", value_parser = duration(SECOND / 100..=DAY))]
    idempotency_sweep_interval: Duration,
}

/// What is wrong with settings that can each be read.
pub(crate) fn faults(given: &Given<'_>) -> Vec<String> {
    let faults = [
        given.get::<Access>().and_then(|database| database.fault()),
        given.get::<Redis>().and_then(|redis| redis.fault()),
        given.get::<KafkaArgs>().and_then(|kafka| kafka.fault()),
    ];
    faults.into_iter().flatten().collect()
}

/// What all requests share; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) verifier: Verifier,
    pub(crate) pool: Pool,
    pub(crate) cached: Cached,
    pub(crate) wake: Wake,
    pub(crate) docs: Docs,
}

/// Serves until the process is told to stop. The tails end after HTTP and the jobs, so that they deliver what those
/// decided last.
pub(crate) async fn serve(process: Process, args: &Args) -> anyhow::Result<()> {
    meters::describe();
    let app = build(args).await?;
    #[cfg(feature = "count-allocations")]
    tokio::spawn(crate::allocations::tell());
    let mut tails = Tails::start(&args.tails, &args.database.access, &args.kafka, &app)?;
    let mut jobs = start_jobs(&process, args, &app);
    let serving = process.http_behind_gateway(&args.http, move |config| api::configure(config, &app));
    // What runs behind the server must not be missed until the process is told to stop: a restart brings it back.
    let served = tokio::select! {
        served = serving => served,
        panicked = panicked(&mut jobs) => Err(panicked).context("a job ended early"),
        panicked = tails.panicked() => Err(panicked).context("a tail ended early"),
    };
    // When something failed, nobody has told the jobs to stop; they end with the process.
    if served.is_ok() {
        while let Some(ended) = jobs.join_next().await {
            ended.context("a job ended early")?;
        }
    }
    tails.stop().await?;
    served
}

/// What every replica does beside answering, until the process begins to stop.
fn start_jobs(process: &Process, args: &Args, app: &App) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let shutdown = process.shutdown();
    jobs.spawn(expire_orders::run(
        app.clone(),
        args.order_expiry,
        shutdown.clone(),
    ));
    let sweep = idempotency::sweep(app.pool.clone(), args.idempotency_sweep_interval);
    jobs.spawn(until_lame_duck(shutdown.clone(), sweep));
    let readiness = process.readiness("database");
    let watch = database::watch(
        app.pool.connections().clone(),
        args.database.access.clone(),
        "app-service",
        move |up| readiness.set(up),
    );
    jobs.spawn(until_lame_duck(shutdown, watch));
    jobs
}

async fn until_lame_duck(shutdown: Shutdown, endless: impl Future<Output = ()>) {
    tokio::select! {
        () = endless => {}
        () = shutdown.lame_duck() => {}
    }
}

/// Returns when one of the tasks has panicked; those that end by themselves are done.
pub(crate) async fn panicked(tasks: &mut JoinSet<()>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        if let Err(panicked) = ended {
            return panicked.into();
        }
    }
    std::future::pending().await
}

async fn build(args: &Args) -> anyhow::Result<App> {
    let verifier = Verifier::assertions(&args.assertion_jwks_file)
        .map_err(|error| Misconfigured(format!("ASSERTION_JWKS_FILE: {error}")))?;
    let pool = database::pool(&args.database, "app-service")?;
    // Redis and Kafka are not waited for: requests do without them.
    database::wait_until_up(&pool, args.database.start_timeout)
        .await
        .map_err(|error| Unavailable(error.to_string()))?;
    // Half of the connections: whatever happens to Redis, the other half is the writes'.
    let loads = args.database.db_max_connections / 2;
    let most_waiting = args.db_max_waiting;
    let most_waiting = most_waiting.unwrap_or(args.database.db_max_connections.saturating_mul(4));
    let pool = Pool::new(pool, most_waiting);
    let cached = Cached::start(&args.cache, &pool, loads).await?;
    Ok(App {
        verifier,
        pool,
        cached,
        wake: Wake::new(),
        docs: Docs::new()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_panic_behind_the_server_is_noticed_and_an_end_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        let waiting = tokio::time::timeout(Duration::from_millis(50), panicked(&mut tasks));
        assert!(waiting.await.is_err());
        tasks.spawn(async { panic!("a job") });
        let error = panicked(&mut tasks).await;
        assert!(error.downcast::<tokio::task::JoinError>().unwrap().is_panic());
    }
}
