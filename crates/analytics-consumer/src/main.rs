use std::process::ExitCode;
use std::time::Duration;

use analytics_consumer::{MIGRATIONS, NAME, Sales, api};
use chassis::{Given, HttpArgs, Process, ProcessArgs, Program, Service, Unavailable};
use consumer::{Consumer, ConsumerArgs, Health, KafkaArgs};
use database::{Access, DatabaseArgs};
use events::topics::{CATALOGUE, CUSTOMERS, ORDERS};
use identity::{IssuerArgs, Verifier};

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
    chassis::main::<ServeArgs>()
}

impl Program for ServeArgs {
    const SERVICE: Service = Service {
        name: NAME,
        version: env!("CARGO_PKG_VERSION"),
    };
    const ABOUT: &'static str = "Folds the storefront's events into revenue and units per 15 minutes, and answers questions about them.";
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
        let verifier = Verifier::access_tokens(&self.issuer, "main", NAME)
            .map_err(|error| chassis::Misconfigured(error.to_string()))?;
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
        let consumer = Consumer::new(
            &self.consumer,
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
        let serving = process.http(&self.http, api::routes(pool, verifier));
        tokio::try_join!(consuming, serving).map(drop)
    }

    async fn run(verb: database::Command) -> anyhow::Result<()> {
        verb.run(MIGRATIONS).await
    }
}
