use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cargo;
mod test;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run tests
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let outcome = runtime.block_on(async {
        match cli.verb {
            Verb::Test { arguments } => test::run(&arguments).await,
        }
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("stack: {error:#}");
        ExitCode::FAILURE
    })
}
