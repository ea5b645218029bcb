//! The storefront's application: it alone decides, writes PostgreSQL and Redis, and publishes what it decided.

mod answer;
mod api;
mod app;
mod availability;
mod body;
mod cached;
mod call;
mod checkout;
mod invalidator;
mod models;
mod read;
mod refusal;
mod schema;
mod tails;
mod trouble;
mod write;

use std::process::ExitCode;

use chassis::Service;
use clap::{Parser, Subcommand};
use database::MigrateArgs;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const SERVICE: Service = Service {
    name: "app-service",
    version: env!("CARGO_PKG_VERSION"),
};
const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");

/// The storefront: products, stock, customers and orders.
#[derive(Debug, Parser)]
#[command(name = SERVICE.name, version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the API to the gateway, and publish to Kafka what was decided.
    Serve(Box<app::Args>),
    /// Bring the database's tables up to this release, as their owner, and exit.
    Migrate(MigrateArgs),
}

fn main() -> ExitCode {
    let command: Command = match chassis::parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    match command.verb {
        Verb::Serve(args) => chassis::serve(SERVICE, &args.process, async |process| {
            app::serve(process, &args).await
        }),
        Verb::Migrate(args) => chassis::once(SERVICE, async || {
            let applied = database::migrate(&args, MIGRATIONS).await?;
            tracing::info!(applied, "the database is up to date");
            Ok(())
        }),
    }
}
