//! The verbs that every binary has, and its `main`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches};

use crate::args::{LogArgs, ProcessArgs};
use crate::healthcheck::{self, HealthcheckArgs};
use crate::listener;
use crate::process::Process;
use crate::run::{self, Service};
use crate::{parse, reference, telemetry};

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
    /// It is asked also when other settings cannot be read, so that all faults are printed at once. What can be judged from one value
    /// alone belongs into its value parser.
    fn faults(_given: &Given<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Serves until the process is told to stop.
    fn serve(&self, process: Process) -> impl Future<Output = anyhow::Result<()>>;

    /// Does one of [`Verbs`](Self::Verbs).
    fn run(verb: Self::Verbs) -> impl Future<Output = anyhow::Result<()>>;
}

/// For a binary that only serves.
pub type NoVerbs = Infallible;

/// The settings of `serve` that can be read.
pub struct Given<'a>(&'a ArgMatches);

impl Given<'_> {
    /// A group of settings; `None` if one that it needs is missing or cannot be read. In place of others that cannot be read it has
    /// their defaults.
    pub fn get<A: FromArgMatches>(&self) -> Option<A> {
        A::from_arg_matches(self.0).ok()
    }

    /// One setting, by the name of its field.
    pub(crate) fn one<T: Clone + Send + Sync + 'static>(&self, id: &str) -> Option<T> {
        self.0.try_get_one(id).ok().flatten().cloned()
    }
}

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
    let line = match parse::parse::<CommandLine<P, P::Verbs>>(command::<P>(), &arguments, faults::<P>) {
        Ok(line) => line,
        Err(code) => return code,
    };
    match line.verb {
        Verb::Serve(program) => run::serve(P::SERVICE, &line.log, program.process(), async |process| {
            program.serve(process).await
        }),
        Verb::CheckConfig(_) => say_valid(P::SERVICE),
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

/// What is wrong with the settings of the verb that is asked for, as far as they can be read.
fn faults<P: Program>(matches: &ArgMatches) -> Vec<String> {
    let Some((verb, settings)) = matches.subcommand() else {
        return Vec::new();
    };
    if matches!(verb, "healthcheck" | "reference") {
        return Vec::new();
    }
    let mut faults = match LogArgs::from_arg_matches(matches) {
        Ok(log) => telemetry::faults(&log),
        Err(_) => Vec::new(),
    };
    if matches!(verb, "serve" | "check-config") {
        let given = Given(settings);
        faults.extend(listener::faults(&given));
        faults.extend(P::faults(&given));
    }
    // Files that cannot be used are a fault of every listener.
    faults.dedup();
    faults
}

#[expect(clippy::print_stdout, reason = "it is this verb's answer")]
fn say_valid(service: Service) -> ExitCode {
    println!("the configuration of {} is valid", service.name);
    ExitCode::SUCCESS
}
