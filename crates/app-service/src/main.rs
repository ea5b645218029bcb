//! The storefront's application: it alone decides, writes PostgreSQL and Redis, and publishes what it decided.

mod answer;
mod api;
mod app;
mod availability;
mod body;
mod cached;
mod call;
mod cancellation;
mod checkout;
mod etag;
mod fields;
mod form;
mod idempotency;
mod jobs;
mod models;
mod node;
mod page;
mod path;
mod post;
mod problems;
mod query;
mod read;
mod refusal;
mod schema;
mod step;
mod trouble;
mod write;

use std::process::ExitCode;

use chassis::{Process, ProcessArgs, Program, Service};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");

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
    type Verbs = database::Command;

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    async fn serve(&self, process: Process) -> anyhow::Result<()> {
        app::serve(process, self).await
    }

    async fn run(verb: database::Command) -> anyhow::Result<()> {
        verb.run(MIGRATIONS).await
    }
}
