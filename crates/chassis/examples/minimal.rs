//! The smallest process: what a binary of this system looks like before it does anything. The tests drive it from outside.
//!
//! `cargo run -p chassis --example minimal -- serve --http-addr 127.0.0.1:0`

use std::process::ExitCode;
use std::time::Duration;

use actix_web::web::{self, Json, Path, ServiceConfig};
use chassis::{Given, HttpArgs, Misconfigured, Problem, Process, ProcessArgs, Program, Service, Unavailable};
use serde::Deserialize;
use uuid::Uuid;

#[derive(clap::Args)]
struct Minimal {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    http: HttpArgs,
    /// Keep the request ids of the caller.
    #[arg(long)]
    behind_gateway: bool,
    /// Wait for a dependency that never comes.
    #[arg(long)]
    lonely: bool,
    #[command(flatten)]
    number: Number,
}

#[derive(clap::Args)]
struct Number {
    /// Stand-in for a password.
    #[arg(long, env = "SECRET_NUMBER", hide_env_values = true)]
    secret_number: Option<u32>,
}

#[derive(clap::Subcommand)]
enum Verbs {
    /// Ends in the given way.
    End { how: How },
}

#[derive(Clone, clap::ValueEnum)]
enum How {
    Well,
    Failed,
    Unavailable,
    Misconfigured,
    Panicked,
}

fn main() -> ExitCode {
    chassis::main::<Minimal>()
}

impl Program for Minimal {
    const SERVICE: Service = Service {
        name: "minimal",
        version: env!("CARGO_PKG_VERSION"),
    };
    const ABOUT: &'static str = "The smallest process.";
    type Verbs = Verbs;

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn faults(given: &Given<'_>) -> Vec<String> {
        let number = given.get::<Number>().and_then(|number| number.secret_number);
        let unlucky = number.filter(|number| *number == 13);
        unlucky
            .map(|_| "SECRET_NUMBER is 13; any other number will do".to_owned())
            .into_iter()
            .collect()
    }

    async fn serve(&self, process: Process) -> anyhow::Result<()> {
        let dependency = process.readiness("dependency");
        if self.lonely {
            tracing::warn!("waiting for the dependency");
            return std::future::pending().await;
        }
        dependency.set(true);
        if self.behind_gateway {
            process.http_behind_gateway(&self.http, routes).await
        } else {
            process.http(&self.http, routes).await
        }
    }

    async fn run(verb: Verbs) -> anyhow::Result<()> {
        match verb {
            Verbs::End { how } => end(how),
        }
    }
}

fn end(how: How) -> anyhow::Result<()> {
    match how {
        How::Well => Ok(()),
        How::Failed => anyhow::bail!("failed as asked"),
        How::Unavailable => Err(Unavailable("no database".to_owned()).into()),
        How::Misconfigured => Err(Misconfigured("no such file".to_owned()).into()),
        How::Panicked => panic!("panicked as asked"),
    }
}

/// `web::resource` rather than `route`, so that another method on a known path is 405 with `Allow`, not 404.
fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/items/{id}").route(web::get().to(item)))
        .service(web::resource("/items").route(web::post().to(create)))
        .service(web::resource("/trace").route(web::get().to(trace)))
        .service(web::resource("/slow").route(web::get().to(slow)))
        .service(web::resource("/broken").route(web::get().to(broken)))
        .service(web::resource("/busy").route(web::get().to(busy)));
}

async fn item(id: Path<Uuid>) -> String {
    tracing::info!(item_id = %id, "item read");
    id.to_string()
}

#[derive(Deserialize)]
struct NewItem {
    name: String,
}

async fn create(item: Json<NewItem>) -> String {
    item.into_inner().name
}

/// What this process would send on.
async fn trace() -> String {
    chassis::trace::current().unwrap_or_default()
}

async fn slow() -> &'static str {
    tracing::info!("slow request began");
    tokio::time::sleep(Duration::from_millis(500)).await;
    "done"
}

async fn broken() -> Result<&'static str, Problem> {
    Err(Problem::internal(anyhow::anyhow!("the secret cause")))
}

async fn busy() -> Result<&'static str, Problem> {
    Err(Problem::new(503u16, "overloaded", "too busy").with("retry_after_seconds", 1))
}
