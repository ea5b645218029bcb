//! The process: its arguments, what its requests share, start and stop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cache::{Cache, CacheArgs, Namespace, Policy};
use chassis::{HttpArgs, Misconfigured, Process, ProcessArgs, Readiness, Unavailable};
use database::{DatabaseArgs, Pool};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use identity::Verifier;
use kafka::KafkaArgs;
use outbox::{Relay, RelayArgs, Wake};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::api;
use crate::cached::Products;

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

    /// JWK set file with the public keys that the gateway's assertions are verified with; it is re-read when it changes.
    #[arg(long, env = "ASSERTION_JWKS_FILE", value_name = "FILE")]
    assertion_jwks_file: PathBuf,
}

/// What all requests share; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) verifier: Verifier,
    pub(crate) pool: Pool,
    pub(crate) products: Namespace<Products>,
    pub(crate) wake: Wake,
}

/// How long the start waits for PostgreSQL. Redis and Kafka are not waited for: requests do without them.
const DATABASE_START_LIMIT: Duration = Duration::from_secs(30);

/// Serves until the process is told to stop. The relay ends after HTTP has drained, so that it publishes what the last
/// requests decided.
pub(crate) async fn serve(process: Process, args: &Args) -> anyhow::Result<()> {
    let app = build(args).await?;
    let relay = Relay::new(
        RelayArgs {
            database_url: args.database.database_url.clone(),
            kafka: args.kafka.clone(),
            source: "app-service",
        },
        app.wake.clone(),
    );
    let (drained, stop) = oneshot::channel::<()>();
    let relay = tokio::spawn(relay.run(async {
        // Also when the sender is dropped, because the server failed.
        let _ = stop.await;
    }));
    let watch = watch_database(args.database.database_url.clone(), process.readiness("database"));
    let watch = tokio::spawn(watch);

    let served = process
        .http_behind_gateway(&args.http, move |config| api::configure(config, &app))
        .await;
    drop(drained);
    watch.abort();
    relay.await.context("the relay ended early")?;
    served
}

async fn build(args: &Args) -> anyhow::Result<App> {
    let verifier = Verifier::assertions(&args.assertion_jwks_file)
        .map_err(|error| Misconfigured(format!("ASSERTION_JWKS_FILE: {error}")))?;
    let pool = database::pool(&args.database, "app-service")?;
    database::wait_until_up(&pool, DATABASE_START_LIMIT)
        .await
        .map_err(|error| Unavailable(error.to_string()))?;
    // Half of the connections: whatever happens to Redis, the other half is the writes'.
    let loads = args.database.db_max_connections / 2;
    let cache = Cache::start(&args.cache, loads)
        .await
        .map_err(|error| Misconfigured(format!("REDIS_URL: {error}")))?;
    let products = cache.namespace(Products::new(pool.clone()), Policy::default());
    Ok(App {
        verifier,
        pool,
        products,
        wake: Wake::new(),
    })
}

/// How often the database is probed, and how long an answer may take.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Keeps readiness up to date, on a connection of its own: a pool that is busy is no reason to lose a replica.
async fn watch_database(url: String, readiness: Readiness) {
    let mut connection = None;
    loop {
        let answered = timeout(PROBE_LIMIT, probe(&mut connection, &url)).await;
        match answered {
            Ok(Ok(())) => readiness.set(true),
            failed => {
                connection = None;
                readiness.set(false);
                tracing::debug!(?failed, "the database did not answer");
            }
        }
        sleep(PROBE_EVERY).await;
    }
}

async fn probe(connection: &mut Option<AsyncPgConnection>, url: &str) -> anyhow::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(database::dedicated(url, "app-service readiness").await?),
    };
    Ok(connection.batch_execute("SELECT 1").await?)
}
