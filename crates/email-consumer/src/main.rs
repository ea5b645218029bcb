use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chassis::{Given, Process, ProcessArgs, Program, Service, Unavailable};
use consumer::{Consumer, ConsumerArgs, Health, KafkaArgs};
use database::{Access, DatabaseArgs};
use email_consumer::{MIGRATIONS, MailArgs, Mailings, NAME, Sender};
use events::topics::{CUSTOMERS, ORDERS};
use tokio::sync::Notify;

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
    chassis::main::<ServeArgs>()
}

impl Program for ServeArgs {
    const SERVICE: Service = Service {
        name: NAME,
        version: env!("CARGO_PKG_VERSION"),
    };
    const ABOUT: &'static str = "Turns the storefront's events into mails, each sent at most once.";
    type Verbs = database::Command;

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn faults(given: &Given<'_>) -> Vec<String> {
        let faults = [
            given.get::<Access>().and_then(|database| database.fault()),
            given.get::<KafkaArgs>().and_then(|kafka| kafka.fault()),
        ];
        faults.into_iter().flatten().collect()
    }

    async fn serve(&self, process: Process) -> anyhow::Result<()> {
        let (database_up, kafka_joined) = (process.readiness("database"), process.readiness("kafka"));
        let polling = process.heartbeat("poll", Duration::from_secs(30));

        let pool = database::pool(&self.database, NAME)?;
        database::wait_until_up(&pool, self.database.start_timeout)
            .await
            .map_err(|error| Unavailable(error.to_string()))?;
        tokio::spawn(database::watch(
            pool.clone(),
            self.database.access.clone(),
            NAME,
            move |up| database_up.set(up),
        ));

        consumer::wait_until_up(&self.consumer, self.database.start_timeout)
            .await
            .map_err(|error| Unavailable(error.to_string()))?;

        let wake = Arc::new(Notify::new());
        let consumer = Consumer::new(
            &self.consumer,
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
        let sender = Sender::new(pool, &self.mail, wake);
        let sending = async {
            sender.run(stop_sending.lame_duck()).await;
            Ok(())
        };
        tokio::try_join!(consuming, sending).map(drop)
    }

    async fn run(verb: database::Command) -> anyhow::Result<()> {
        verb.run(MIGRATIONS).await
    }
}
