//! The process: its arguments, what its requests share, start and stop.

use std::path::PathBuf;
use std::time::Duration;

use cache::{Cache, CacheArgs, Namespace, Policy};
use chassis::{HttpArgs, Misconfigured, Process, ProcessArgs, Readiness, Unavailable};
use database::{DatabaseArgs, Pool};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use identity::Verifier;
use kafka::KafkaArgs;
use outbox::Wake;
use tokio::time::{sleep, timeout};

use crate::api;
use crate::cached::Products;
use crate::tails::{self, Tails};

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

/// Serves until the process is told to stop. The tails end after HTTP has drained, so that they deliver what the last
/// requests decided.
pub(crate) async fn serve(process: Process, args: &Args) -> anyhow::Result<()> {
    let app = build(args).await?;
    let tails = Tails::start(&args.tails, &args.database.database_url, &args.kafka, &app);
    let watch = watch_database(args.database.database_url.clone(), process.readiness("database"));
    let watch = tokio::spawn(watch);

    let served = process
        .http_behind_gateway(&args.http, move |config| api::configure(config, &app))
        .await;
    watch.abort();
    tails.stop().await?;
    served
}

async fn build(args: &Args) -> anyhow::Result<App> {
    let verifier = Verifier::assertions(&args.assertion_jwks_file)
        .map_err(|error| Misconfigured(format!("ASSERTION_JWKS_FILE: {error}")))?;
    let pool = database::pool(&args.database, "app-service")?;
    database::wait_until_up(&pool, DATABASE_START_LIMIT)
        .await
        .map_err(|error| Unavailable(error.to_string()))?;
    let products = Products::new(pool.clone());
    let products = Cache::start(&args.cache)
        .await
        .namespace(products, Policy::default());
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
