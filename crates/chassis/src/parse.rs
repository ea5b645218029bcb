//! Reading the command line and the environment, with everything that is wrong said at once.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::run::CONFIGURATION;

/// Reads `arguments` and the environment as `command` says.
///
/// # Errors
/// The code to exit with, once everything there is to say is printed: 0 after `--help` and `--version`, otherwise 78 after a list of
/// *all* faults (clap alone stops at the first value that it cannot parse). Values of secrets are not printed.
pub(crate) fn parse<C: clap::FromArgMatches>(
    command: clap::Command,
    arguments: &[OsString],
) -> Result<C, ExitCode> {
    let refusal = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => match C::from_arg_matches(&matches) {
            Ok(parsed) => return Ok(parsed),
            Err(refusal) => refusal.with_cmd(&command),
        },
        Err(refusal) => refusal,
    };
    if !refusal.use_stderr() {
        // A closed stdout (`--help | head`) is no failure.
        let _ = refusal.print();
        return Err(ExitCode::SUCCESS);
    }
    let faults = all_faults(command, arguments);
    if let [only] = faults.as_slice() {
        let _ = only.print();
        return Err(ExitCode::from(CONFIGURATION));
    }
    let first_paragraph = |fault: &clap::Error| {
        let text = fault.render().to_string();
        text.split("\n\n").next().unwrap_or(&text).trim_end().to_owned()
    };
    let mut stderr = std::io::stderr().lock();
    for fault in &faults {
        let _ = writeln!(stderr, "{}", first_paragraph(fault));
    }
    let _ = writeln!(stderr, "\nFor more information, try '--help'.");
    Err(ExitCode::from(CONFIGURATION))
}

/// Prints what is wrong with settings that can each be read.
pub(crate) fn refuse(faults: &[String]) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for fault in faults {
        let _ = writeln!(stderr, "error: {fault}");
    }
    ExitCode::from(CONFIGURATION)
}

/// Parses again and again, each time accepting any text for the argument that was refused last.
fn all_faults(mut command: clap::Command, arguments: &[OsString]) -> Vec<clap::Error> {
    let mut faults = Vec::new();
    let mut accepted: Vec<String> = Vec::new();
    while let Err(mut fault) = command.clone().try_get_matches_from(arguments) {
        let refused = refused_flag(&fault).filter(|flag| !accepted.contains(flag));
        if let Some(flag) = &refused
            && holds_secret(&command, flag)
        {
            let hidden = ContextValue::String("(hidden)".to_owned());
            fault.insert(ContextKind::InvalidValue, hidden);
        }
        name_variables(&command, &mut fault);
        if let Some(flag) = &refused {
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

/// Says beside each flag which variable it has: that is what most people set.
fn name_variables(command: &clap::Command, fault: &mut clap::Error) {
    let named = |shown: &String| match variable(command, shown) {
        Some(variable) => format!("{shown} ({variable})"),
        None => shown.clone(),
    };
    let named = match fault.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => ContextValue::String(named(shown)),
        Some(ContextValue::Strings(all)) => ContextValue::Strings(all.iter().map(named).collect()),
        _ => return,
    };
    fault.insert(ContextKind::InvalidArg, named);
}

/// The variable of the flag that clap shows as `--http-addr <IP:PORT>`.
fn variable(command: &clap::Command, shown: &str) -> Option<String> {
    let flag = shown.split_whitespace().next()?;
    let here = command.get_arguments().find(|arg| is_flag(arg, flag));
    match here.and_then(|arg| arg.get_env()) {
        Some(variable) => Some(variable.to_string_lossy().into_owned()),
        None => command
            .get_subcommands()
            .find_map(|subcommand| variable(subcommand, shown)),
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
    use crate::args::{HttpArgs, LogArgs, ProcessArgs};

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        log: LogArgs,
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
                "'nowhere' for '--http-addr <IP:PORT> (HTTP_ADDR)'",
                "'soon' for '--drain-delay <DURATION> (DRAIN_DELAY)'",
                "'(hidden)' for '--pin",
            ],
        );
        check(
            "serve --log-format loud --http-workers 0",
            &["--log-format", "--http-workers", "--topic <TOPIC>"],
        );
        check(
            "--log-format loud --log-filter a=b=c serve --http-addr 127.0.0.1:80 --pin 1 --topic t",
            &["--log-format", "--log-filter"],
        );
        check("serve --unknown", &["--unknown"]);
        check("", &["subcommand"]);
    }

    #[test]
    fn a_refused_value_comes_with_what_is_allowed() {
        check(
            "serve --http-addr 127.0.0.1:80 --pin 1 --topic t --drain-delay 1h --http-max-body-bytes 1MB \
             --shutdown-grace-seconds 4000 --otlp-endpoint collector:4318",
            &[
                "from 0s to 10m",
                "from 0 to 16777216",
                "0..=3600",
                "http://collector:4318",
            ],
        );
    }
}
