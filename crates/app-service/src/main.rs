//! The storefront's application: it alone decides, writes PostgreSQL and Redis, and publishes what it decided.

#[cfg(feature = "count-allocations")]
mod allocations;
mod answer;
mod api;
mod app;
mod availability;
mod body;
mod cached;
mod call;
mod cancellation;
mod checkout;
mod docs;
mod etag;
mod fields;
mod form;
mod idempotency;
mod invalidator;
mod jobs;
mod meters;
mod models;
mod node;
mod openapi;
mod page;
mod path;
mod post;
mod problems;
mod query;
mod read;
mod refusal;
mod restate;
mod schema;
mod shape;
mod step;
mod tails;
mod trouble;
mod write;

use std::process::ExitCode;

use chassis::{Given, Process, ProcessArgs, Program, Service};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::restate::Storefront;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");

#[derive(Debug, clap::Subcommand)]
enum Verbs {
    #[command(flatten)]
    Database(database::Command),
    /// Look at the outbox and its tails, deliver again, state anew.
    Outbox {
        #[command(flatten)]
        database: database::CommandArgs,
        #[command(subcommand)]
        command: outbox::Command,
    },
    /// Look at an entry of the cache, or make it forget one.
    #[command(subcommand)]
    Cache(cache::Command),
}

fn main() -> ExitCode {
    chassis::main::<app::Args>()
}

impl Program for app::Args {
    const SERVICE: Service = Service {
        name: "app-service",
        version: env!("CARGO_PKG_VERSION"),
    };
    const ABOUT: &'static str =
        "The storefront: products, stock, customers and orders, published to Kafka as they change.";
    type Verbs = Verbs;

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn faults(given: &Given<'_>) -> Vec<String> {
        app::faults(given)
    }

    async fn serve(&self, process: Process) -> anyhow::Result<()> {
        app::serve(process, self).await
    }

    async fn run(verb: Verbs) -> anyhow::Result<()> {
        match verb {
            Verbs::Database(command) => command.run(MIGRATIONS).await,
            Verbs::Outbox { database, command } => {
                command.run(&database, &Storefront, &mut std::io::stdout()).await
            }
            Verbs::Cache(command) => {
                print!("{}", command.run(&cached::known()).await?);
                Ok(())
            }
        }
    }
}
