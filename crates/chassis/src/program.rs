//! The verbs that every binary has, and its `main`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::{LogArgs, ProcessArgs};
use crate::healthcheck::{self, HealthcheckArgs};
use crate::process::Process;
use crate::run::{self, Service};
use crate::{parse, reference};

/// One of the system's binaries: the arguments of its `serve`, and what it does with them.
pub trait Program: clap::Args {
    /// Who this is.
    const SERVICE: Service;

    /// What it is for, in one sentence; `--help` begins with it.
    const ABOUT: &'static str;

    /// Verbs that other binaries do not have, like `migrate`; [`NoVerbs`] where there are none.
    type Verbs: clap::Subcommand;

    /// The arguments that all processes share.
    fn process(&self) -> &ProcessArgs;

    /// Everything that is wrong with settings that can each be read: what contradicts each other, what a file holds. Each text names
    /// its setting and what is allowed. Nothing is bound and nothing connected to.
    ///
    /// What can be judged from one value alone belongs into its value parser, because those faults are printed together.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    /// Serves until the process is told to stop.
    fn serve(&self, process: Process) -> impl Future<Output = anyhow::Result<()>>;

    /// Does one of [`Verbs`](Self::Verbs).
    fn run(verb: Self::Verbs) -> impl Future<Output = anyhow::Result<()>>;
}

/// For a binary that only serves.
pub type NoVerbs = Infallible;

#[derive(Debug, clap::Parser)]
struct CommandLine<S: clap::Args, V: clap::Subcommand> {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    verb: Verb<S, V>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb<S: clap::Args, V: clap::Subcommand> {
    /// Serve until SIGTERM or SIGINT.
    ///
    /// SIGTERM and SIGINT make the process unready; it goes on accepting for DRAIN_DELAY, finishes what is in flight, and exits with 0. A
    /// second signal ends it at once. Exit codes: 0 stopped, 1 failed, 69 a dependency did not come up in time at the start, 70 a bug, 78
    /// configuration.
    Serve(Box<S>),
    /// Check the configuration of `serve`, and exit with 0, or with 78 and all that is wrong.
    ///
    /// Takes the flags and variables of `serve`, and reads the files that they name. It binds no port and connects to nothing, so it can
    /// run beside a serving process, or where no dependency is within reach.
    CheckConfig(Box<S>),
    /// Ask the process on this machine whether it is ready, and exit with 0 if so and with 1 if not.
    ///
    /// For images without a shell. Prints the probe's answer.
    Healthcheck(HealthcheckArgs),
    /// Print every flag as Markdown.
    #[command(hide = true)]
    Reference,
    #[command(flatten)]
    Own(V),
}

/// A binary's whole `main`: reads the command line and does what it says.
pub fn main<P: Program>() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let line = match parse::parse::<CommandLine<P, P::Verbs>>(command::<P>(), &arguments) {
        Ok(line) => line,
        Err(code) => return code,
    };
    match line.verb {
        Verb::Serve(program) => match all_faults(&*program).as_slice() {
            [] => run::serve(P::SERVICE, &line.log, program.process(), async |process| {
                program.serve(process).await
            }),
            faults => parse::refuse(faults),
        },
        Verb::CheckConfig(program) => check_config(&*program),
        Verb::Healthcheck(args) => healthcheck::run(&args),
        Verb::Reference => reference::print(command::<P>()),
        Verb::Own(verb) => run::once(P::SERVICE, &line.log, async || P::run(verb).await),
    }
}

fn command<P: Program>() -> clap::Command {
    CommandLine::<P, P::Verbs>::command()
        .name(P::SERVICE.name)
        .version(P::SERVICE.version)
        .about(P::ABOUT)
        .arg_required_else_help(false)
}

fn all_faults<P: Program>(program: &P) -> Vec<String> {
    let process = program.process();
    let shared = process.tls.fault("ADMIN_ADDR", process.admin.admin_addr);
    let mut faults: Vec<String> = shared.into_iter().chain(program.faults()).collect();
    // Files that cannot be used are a fault of every listener.
    faults.dedup();
    faults
}

#[expect(clippy::print_stdout, reason = "it is this verb's answer")]
fn check_config<P: Program>(program: &P) -> ExitCode {
    let faults = all_faults(program);
    if !faults.is_empty() {
        return parse::refuse(&faults);
    }
    println!("the configuration of {} is valid", P::SERVICE.name);
    ExitCode::SUCCESS
}
