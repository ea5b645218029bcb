use std::process::ExitCode;
use std::time::Duration;

use analytics_consumer::{MIGRATIONS, NAME, Sales, api};
use chassis::{HttpArgs, Process, ProcessArgs, Service, Unavailable};
use consumer::{Consumer, ConsumerArgs, Health};
use database::{DatabaseArgs, MigrateArgs};
use events::topics::{CATALOGUE, CUSTOMERS, ORDERS};
use identity::{IssuerArgs, Verifier};

/// Folds the storefront's events into revenue and units per 15 minutes, and answers questions about them.
#[derive(clap::Parser)]
#[command(name = NAME, version)]
enum Cli {
    /// Consume, and serve the JSON API.
    Serve(Box<ServeArgs>),
    /// Bring the database's tables up to date, as their owner.
    Migrate(MigrateArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    consumer: ConsumerArgs,
    #[command(flatten)]
    issuer: IssuerArgs,
}

fn main() -> ExitCode {
    let service = Service {
        name: NAME,
        version: env!("CARGO_PKG_VERSION"),
    };
    match chassis::parse() {
        Err(code) => code,
        Ok(Cli::Migrate(args)) => chassis::once(service, async move || {
            database::migrate(&args, MIGRATIONS).await.map(drop)
        }),
        Ok(Cli::Serve(args)) => chassis::serve(service, &args.process, async |process| {
            serve(&args, process).await
        }),
    }
}

async fn serve(args: &ServeArgs, process: Process) -> anyhow::Result<()> {
    let verifier = Verifier::access_tokens(&args.issuer, "main", NAME)
        .map_err(|error| chassis::Misconfigured(error.to_string()))?;
    let (database_up, kafka_joined) = (process.readiness("database"), process.readiness("kafka"));
    let polling = process.heartbeat("poll", Duration::from_secs(30));

    let pool = database::pool(&args.database, NAME)?;
    database::wait_until_up(&pool, Duration::from_secs(30))
        .await
        .map_err(|error| Unavailable(error.to_string()))?;
    database_up.set(true);

    let consumer = Consumer::new(
        &args.consumer,
        pool.clone(),
        &[CUSTOMERS, CATALOGUE, ORDERS],
        Sales,
    );
    let shutdown = process.shutdown();
    // Nobody routes to a member of a group, so polling needs no lame duck; the API has its own.
    let consuming = consumer.run(
        async move { shutdown.lame_duck().await },
        move |health| match health {
            Health::Polled => polling.beat(),
            Health::Assigned => kafka_joined.set(true),
            Health::Stuck { .. } | Health::Recovered { .. } => {}
        },
    );
    let serving = process.http(&args.http, api::routes(pool, verifier));
    tokio::try_join!(consuming, serving).map(drop)
}
