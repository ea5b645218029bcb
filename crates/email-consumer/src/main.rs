use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chassis::{Process, ProcessArgs, Service, Unavailable};
use consumer::{Consumer, ConsumerArgs, Health};
use database::{DatabaseArgs, MigrateArgs};
use email_consumer::{MIGRATIONS, MailArgs, Mailings, NAME, Sender};
use events::topics::{CUSTOMERS, ORDERS};
use tokio::sync::Notify;

/// Turns the storefront's events into mails, each sent at most once.
#[derive(clap::Parser)]
#[command(name = NAME, version)]
enum Cli {
    /// Consume, and send.
    Serve(Box<ServeArgs>),
    /// Bring the database's tables up to date, as their owner.
    Migrate(MigrateArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    consumer: ConsumerArgs,
    #[command(flatten)]
    mail: MailArgs,
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
    let (database_up, kafka_joined) = (process.readiness("database"), process.readiness("kafka"));
    let polling = process.heartbeat("poll", Duration::from_secs(30));

    let pool = database::pool(&args.database, NAME)?;
    database::wait_until_up(&pool, Duration::from_secs(30))
        .await
        .map_err(|error| Unavailable(error.to_string()))?;
    database_up.set(true);

    let wake = Arc::new(Notify::new());
    let consumer = Consumer::new(
        &args.consumer,
        pool.clone(),
        &[CUSTOMERS, ORDERS],
        Mailings::new(wake.clone()),
    );
    // Nobody calls this process, so it needs no lame duck: it stops as soon as it is told.
    let (shutdown, stop_sending) = (process.shutdown(), process.shutdown());
    let consuming = consumer.run(
        async move { shutdown.lame_duck().await },
        move |health| match health {
            Health::Polled => polling.beat(),
            Health::Assigned => kafka_joined.set(true),
            Health::Stuck { .. } | Health::Recovered { .. } => {}
        },
    );
    let sender = Sender::new(pool, &args.mail, wake);
    let sending = async {
        sender.run(stop_sending.lame_duck()).await;
        Ok(())
    };
    tokio::try_join!(consuming, sending).map(drop)
}
