//! Arguments that all processes share, and how arguments are read.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::listener::TlsArgs;
use crate::run::CONFIGURATION;

/// What every long-running process takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ProcessArgs {
    /// Where /livez, /readyz, /metrics and /buildinfo are served. Keep it away from the public network.
    #[arg(
        long,
        env = "ADMIN_ADDR",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:9080"
    )]
    pub admin_addr: SocketAddr,

    #[command(flatten)]
    pub tls: TlsArgs,

    /// Shape of the log lines; the default is `pretty` on a terminal and `json` elsewhere.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// How long the process keeps accepting after SIGTERM while it is no longer ready, so that callers can move away.
    #[arg(long, env = "DRAIN_DELAY", value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub drain_delay: Duration,

    /// How long requests and batches in flight may take after that before they are cut off.
    #[arg(
        long,
        env = "SHUTDOWN_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value = "20"
    )]
    pub shutdown_grace_seconds: u64,
}

/// What a process with an HTTP listener takes.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "HTTP_ADDR", value_name = "IP:PORT")]
    pub http_addr: SocketAddr,

    /// Threads that serve HTTP; the default is one per core.
    #[arg(long, env = "HTTP_WORKERS", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub http_workers: Option<u16>,

    /// Largest request body; a larger one is answered with 413.
    #[arg(
        long,
        env = "HTTP_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value = "65536"
    )]
    pub http_max_body_bytes: usize,
}

/// Shape of the log lines on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// Text for people.
    Pretty,
}

impl LogFormat {
    pub(crate) fn for_this_output() -> LogFormat {
        if std::io::stdout().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        }
    }

    /// For commands that take no [`ProcessArgs`].
    pub(crate) fn from_environment() -> LogFormat {
        std::env::var("LOG_FORMAT")
            .ok()
            .and_then(|name| clap::ValueEnum::from_str(&name, true).ok())
            .unwrap_or_else(LogFormat::for_this_output)
    }
}

/// Reads arguments and environment.
///
/// # Errors
/// The code to exit with, once everything there is to say is printed: 0 after `--help` and `--version`, otherwise 78 after a list of
/// *all* faults (clap alone stops at the first value that it cannot parse). Values of secrets are not printed.
pub fn parse<C: clap::Parser>() -> Result<C, ExitCode> {
    parse_from(std::env::args_os().collect())
}

fn parse_from<C: clap::Parser>(arguments: Vec<OsString>) -> Result<C, ExitCode> {
    let refusal = match C::try_parse_from(&arguments) {
        Ok(parsed) => return Ok(parsed),
        Err(refusal) => refusal,
    };
    if !refusal.use_stderr() {
        // A closed stdout (`--help | head`) is no failure.
        let _ = refusal.print();
        return Err(ExitCode::SUCCESS);
    }
    let faults = all_faults(C::command(), &arguments);
    if let [only] = faults.as_slice() {
        let _ = only.print();
    } else {
        let mut stderr = std::io::stderr().lock();
        for fault in &faults {
            let text = fault.render().to_string();
            let first_paragraph = text.split("\n\n").next().unwrap_or(&text);
            let _ = writeln!(stderr, "{}", first_paragraph.trim_end());
        }
        let _ = writeln!(stderr, "\nFor more information, try '--help'.");
    }
    Err(ExitCode::from(CONFIGURATION))
}

/// Parses again and again, each time accepting any text for the argument that was refused last.
fn all_faults(mut command: clap::Command, arguments: &[OsString]) -> Vec<clap::Error> {
    let mut faults = Vec::new();
    let mut accepted: Vec<String> = Vec::new();
    while let Err(mut fault) = command.clone().try_get_matches_from(arguments) {
        let refused = refused_flag(&fault).filter(|flag| !accepted.contains(flag));
        if let Some(flag) = &refused {
            if holds_secret(&command, flag) {
                let hidden = ContextValue::String("(hidden)".to_owned());
                fault.insert(ContextKind::InvalidValue, hidden);
            }
            command = accept_any_value(command, flag);
            accepted.push(flag.clone());
        }
        faults.push(fault);
        if refused.is_none() {
            break;
        }
    }
    faults
}

/// `--http-addr`, when `fault` is about the value of `--http-addr <IP:PORT>`.
fn refused_flag(fault: &clap::Error) -> Option<String> {
    if !matches!(fault.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    match fault.get(ContextKind::InvalidArg)? {
        ContextValue::String(shown) => shown.split_whitespace().next().map(str::to_owned),
        _ => None,
    }
}

fn is_flag(arg: &clap::Arg, flag: &str) -> bool {
    arg.get_long()
        .is_some_and(|long| flag.strip_prefix("--") == Some(long))
}

fn accept_any_value(command: clap::Command, flag: &str) -> clap::Command {
    command
        .mut_args(|arg| {
            if is_flag(&arg, flag) {
                arg.value_parser(ValueParser::os_string())
            } else {
                arg
            }
        })
        .mut_subcommands(|subcommand| accept_any_value(subcommand, flag))
}

fn holds_secret(command: &clap::Command, flag: &str) -> bool {
    let here = command
        .get_arguments()
        .any(|arg| is_flag(arg, flag) && arg.is_hide_env_values_set());
    here || command
        .get_subcommands()
        .any(|subcommand| holds_secret(subcommand, flag))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Verb {
        Serve {
            #[command(flatten)]
            process: ProcessArgs,
            #[command(flatten)]
            http: HttpArgs,
            #[arg(long, hide_env_values = true)]
            pin: u16,
            #[arg(long)]
            topic: String,
        },
    }

    fn check(arguments: &str, expected: &[&str]) {
        let arguments: Vec<OsString> = ["test"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .map(OsString::from)
            .collect();
        let faults: Vec<String> = all_faults(Command::command(), &arguments)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{expected:?} is not in {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn every_fault_is_found_and_no_secret_is_shown() {
        check("serve --http-addr 127.0.0.1:80 --pin 1 --topic t", &[]);
        check(
            "serve --http-addr nowhere --drain-delay soon --pin hunter2 --topic t",
            &[
                "'nowhere' for '--http-addr",
                "'soon' for '--drain-delay",
                "'(hidden)' for '--pin",
            ],
        );
        check(
            "serve --log-format loud --http-workers 0",
            &["--log-format", "--http-workers", "--topic <TOPIC>"],
        );
        check("serve --unknown", &["--unknown"]);
        check("", &["subcommand"]);
    }
}
