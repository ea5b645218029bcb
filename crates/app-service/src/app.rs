//! The process: its arguments, what its requests share, start and stop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cache::{CacheArgs, Redis};
use chassis::{Given, HttpArgs, Misconfigured, Process, ProcessArgs, Unavailable, duration};
use database::{Access, DatabaseArgs};
use identity::Verifier;
use kafka::KafkaArgs;
use outbox::Wake;

use crate::cached::Cached;
use crate::checkout::Pool;
use crate::docs::Docs;
use crate::idempotency;
use crate::jobs::expire_orders;
use crate::tails::{self, Tails};
use crate::{api, meters, step};

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
    step::describe();
    let app = build(args).await?;
    let tails = Tails::start(&args.tails, &args.database.access, &args.kafka, &app);
    let expiring = expire_orders::run(app.clone(), args.order_expiry, process.shutdown());
    let expiring = tokio::spawn(expiring);
    let sweep = tokio::spawn(idempotency::sweep(
        app.pool.clone(),
        args.idempotency_sweep_interval,
    ));
    let readiness = process.readiness("database");
    let watch = tokio::spawn(database::watch(
        app.pool.connections().clone(),
        args.database.access.clone(),
        "app-service",
        move |up| readiness.set(up),
    ));

    let served = process
        .http_behind_gateway(&args.http, move |config| api::configure(config, &app))
        .await;
    // When the server failed, nobody has told the job to stop; it ends with the process.
    if served.is_ok() {
        expiring.await.context("the expiry of orders ended early")?;
    }
    watch.abort();
    sweep.abort();
    tails.stop().await?;
    served
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
    let cached = Cached::start(&args.cache, &pool, loads)
        .await
        .map_err(|error| Misconfigured(format!("REDIS_URL: {error}")))?;
    Ok(App {
        verifier,
        pool,
        cached,
        wake: Wake::new(),
        docs: Docs::new()?,
    })
}
