//! The process: its arguments, what its requests share, start and stop.

use std::path::PathBuf;

use anyhow::Context as _;
use cache::{Cache, CacheArgs, Namespace, Policy};
use chassis::{HttpArgs, Misconfigured, Process, ProcessArgs, Unavailable};
use database::{DatabaseArgs, Pool};
use identity::Verifier;
use kafka::KafkaArgs;
use outbox::{Relay, RelayArgs, Wake};
use tokio::sync::oneshot;

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
    #[arg(long, env = "ASSERTION_JWKS_FILE", value_name = "FILE", value_parser = identity::key_set_file, help_heading = "Identity")]
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
    let readiness = process.readiness("database");
    let watch = tokio::spawn(database::watch(
        app.pool.clone(),
        args.database.database_url.clone(),
        "app-service",
        move |up| readiness.set(up),
    ));

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
    // Redis and Kafka are not waited for: requests do without them.
    database::wait_until_up(&pool, args.database.start_timeout)
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
