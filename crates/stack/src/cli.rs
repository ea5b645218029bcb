//! The verbs.

mod build;
mod down;
mod logs;
mod prerequisites;
mod project;
mod seed;
mod shop;
mod state;
mod status;
mod stop;
mod supervise;
mod test;
mod token;
mod up;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The whole system on this machine: PostgreSQL, Redis, Apache Kafka, a mail sink and the five processes.
#[derive(Parser)]
#[command(name = "cargo stack", bin_name = "cargo stack", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build and start everything, migrated and seeded, and print its addresses
    Up(up::Up),
    /// Stop what `up` started; data is kept
    Down,
    /// Show processes, topics, lag and log files
    Status {
        /// Addresses and processes as JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print the logs of all processes and servers, or of one
    Logs {
        /// A process (`gateway`), a replica (`gateway-2`) or a server (`kafka`)
        name: Option<String>,
        /// Go on printing what is written
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop everything and delete its data
    Reset,
    /// Fill the running shop: 200 products, 50 customers, 500 orders, through the API
    Seed {
        /// Also when there are products already
        #[arg(long)]
        force: bool,
    },
    /// Print a signed access token, good for 12 hours
    Token(token::Token),
    /// Run the tests against servers of their own; arguments go to `cargo test`
    Test {
        /// Do not install missing prerequisites
        #[arg(long)]
        no_install: bool,
        /// For example `-p cache`; without packages, the whole workspace is tested
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What `up` runs when it detaches
    #[command(hide = true)]
    Supervise {
        #[arg(long, value_name = "NAME=N", value_parser = up::parse_replicas)]
        replicas: Vec<(String, u16)>,
        /// The servers are in containers
        #[arg(long)]
        containers: bool,
    },
    /// The mail sink
    #[command(hide = true)]
    SmtpSink {
        #[arg(long)]
        smtp: SocketAddr,
        #[arg(long)]
        http: SocketAddr,
        #[arg(long)]
        dir: PathBuf,
    },
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: children are watched by polling, and there is little else to do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.verb)),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("stack: {error:#}");
        ExitCode::FAILURE
    })
}

/// Prints to the standard output; that nobody reads it any more (`cargo stack status | head`) is no error.
fn show(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Up(up) => up::run(up).await,
        Verb::Down => down::down().await,
        Verb::Status { json } => status::run(json).await,
        Verb::Logs { name, follow } => logs::run(name.as_deref(), follow).await,
        Verb::Reset => down::reset().await,
        Verb::Seed { force } => seed::run(force).await,
        Verb::Token(token) => token::run(&token),
        Verb::Test {
            no_install,
            arguments,
        } => test::run(&arguments, no_install).await,
        Verb::Supervise { replicas, containers } => supervise::detached(replicas, containers).await,
        Verb::SmtpSink { smtp, http, dir } => {
            stack::serve_mail_sink(smtp, http, &dir).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
