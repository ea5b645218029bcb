//! Reading the command line and the environment, with everything that is wrong said at once.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::ArgMatches;
use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::run::CONFIGURATION;

/// Reads `arguments` and the environment as `command` says. `between` finds what is wrong with settings that can each be read.
///
/// # Errors
/// The code to exit with, once everything there is to say is printed: 0 after `--help` and `--version`, otherwise 78 after a list of
/// *all* faults (clap alone stops at the first value that it cannot parse). Values of secrets are not printed.
pub(crate) fn parse<C: clap::FromArgMatches>(
    command: clap::Command,
    arguments: &[OsString],
    between: impl Fn(&ArgMatches) -> Vec<String>,
) -> Result<C, ExitCode> {
    let refusal = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => {
            let faults = between(&matches);
            if !faults.is_empty() {
                return Err(refuse(&faults));
            }
            match C::from_arg_matches(&matches) {
                Ok(parsed) => return Ok(parsed),
                Err(refusal) => refusal.with_cmd(&command),
            }
        }
        Err(refusal) => refusal,
    };
    if !refusal.use_stderr() {
        // A closed stdout (`--help | head`) is no failure.
        let _ = refusal.print();
        return Err(ExitCode::SUCCESS);
    }
    let Faults { mut faults, readable } = all_faults(command, arguments);
    let further = readable.map(|readable| between(&readable)).unwrap_or_default();
    if faults.is_empty() {
        faults.push(refusal);
    }
    if let ([only], []) = (faults.as_slice(), further.as_slice()) {
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
    for fault in &further {
        let _ = writeln!(stderr, "error: {fault}");
    }
    let _ = writeln!(stderr, "\nFor more information, try '--help'.");
    Err(ExitCode::from(CONFIGURATION))
}

/// Prints what is wrong with settings that can each be read.
fn refuse(faults: &[String]) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for fault in faults {
        let _ = writeln!(stderr, "error: {fault}");
    }
    ExitCode::from(CONFIGURATION)
}

/// What clap finds wrong, and all the rest.
struct Faults {
    faults: Vec<clap::Error>,
    /// The settings without those that cannot be read.
    readable: Option<ArgMatches>,
}

/// Parses again and again, each time without the reason of the last refusal. clap names all that is missing at once, and last.
fn all_faults(command: clap::Command, arguments: &[OsString]) -> Faults {
    let mut faults = Vec::new();
    let mut refused: Vec<(ErrorKind, String)> = Vec::new();
    let (mut relaxed, mut given) = (command.clone(), arguments.to_vec());
    while let Err(mut fault) = relaxed.clone().try_get_matches_from(&given) {
        let kind = fault.kind();
        let flag = flag_of(&fault);
        if flag
            .as_ref()
            .is_some_and(|flag| refused.contains(&(kind, flag.clone())))
        {
            // It was said, and what comes after it stays hidden.
            break;
        }
        if let Some(flag) = &flag
            && holds_secret(&relaxed, flag)
            && fault.get(ContextKind::InvalidValue).is_some()
        {
            let hidden = ContextValue::String("(hidden)".to_owned());
            fault.insert(ContextKind::InvalidValue, hidden);
        }
        name_variables(&relaxed, &mut fault);
        faults.push(fault);
        let Some(flag) = flag else { break };
        match kind {
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                relaxed = accept_any_value(relaxed, &flag);
            }
            ErrorKind::ArgumentConflict => relaxed = accept_together(relaxed, &flag),
            ErrorKind::UnknownArgument => given = without(&given, &flag),
            _ => break,
        }
        refused.push((kind, flag));
    }
    let unreadable = refused.iter().map(|(_, flag)| flag.as_str());
    let (command, given) = unreadable.fold((command, arguments.to_vec()), |(command, given), flag| {
        (without_variable(command, flag), without(&given, flag))
    });
    // What is missing has been said.
    let readable = command.ignore_errors(true).try_get_matches_from(given).ok();
    Faults { faults, readable }
}

/// `arguments` without `--flag value` and `--flag=value`.
fn without(arguments: &[OsString], flag: &str) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == flag {
            arguments.next_if(|value| !value.to_string_lossy().starts_with('-'));
        } else if !text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')) {
            kept.push(argument.clone());
        }
    }
    kept
}

/// `--http-addr`, when `fault` is about `--http-addr <IP:PORT>`.
fn flag_of(fault: &clap::Error) -> Option<String> {
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
    for of in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        let named = match fault.get(of) {
            Some(ContextValue::String(shown)) => ContextValue::String(named(shown)),
            Some(ContextValue::Strings(all)) => ContextValue::Strings(all.iter().map(named).collect()),
            _ => continue,
        };
        fault.insert(of, named);
    }
}

/// The variable of the flag that clap shows as `--http-addr <IP:PORT>`, or of the first in `<--url <URL>|--url-file <FILE>>`.
fn variable(command: &clap::Command, shown: &str) -> Option<String> {
    let flag = shown.trim_start_matches('<').split_whitespace().next()?;
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
    change(command, flag, |arg| arg.value_parser(ValueParser::os_string()))
}

fn without_variable(command: clap::Command, flag: &str) -> clap::Command {
    change(command, flag, |arg| arg.env(Resettable::Reset))
}

/// Changes the flag wherever the command has it.
fn change(command: clap::Command, flag: &str, how: fn(clap::Arg) -> clap::Arg) -> clap::Command {
    command
        .mut_args(|arg| if is_flag(&arg, flag) { how(arg) } else { arg })
        .mut_subcommands(|subcommand| change(subcommand, flag, how))
}

/// Accepts the flag beside the others of its groups.
fn accept_together(command: clap::Command, flag: &str) -> clap::Command {
    let ids: Vec<clap::Id> = command
        .get_arguments()
        .filter(|arg| is_flag(arg, flag))
        .map(|arg| arg.get_id().clone())
        .collect();
    let groups: Vec<clap::Id> = command
        .get_groups()
        .filter(|group| group.get_args().any(|id| ids.contains(id)))
        .map(|group| group.get_id().clone())
        .collect();
    groups
        .into_iter()
        .fold(command, |command, group| {
            command.mut_group(group, |group| group.multiple(true))
        })
        .mut_subcommands(|subcommand| accept_together(subcommand, flag))
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
    use std::net::SocketAddr;
    use std::time::Duration;

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
            #[command(flatten)]
            word: Word,
        },
    }

    #[derive(Debug, clap::Args)]
    #[group(multiple = false)]
    struct Word {
        #[arg(long)]
        word: Option<String>,
        #[arg(long)]
        word_file: Option<String>,
    }

    fn check(arguments: &str, expected: &[&str]) {
        let arguments: Vec<OsString> = ["test"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .map(OsString::from)
            .collect();
        let faults: Vec<String> = all_faults(Command::command(), &arguments)
            .faults
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
        check(
            "serve --unknown --http-workers=0 --word a --word-file b --pin 1",
            &[
                "--unknown",
                "--http-workers",
                "'--word <WORD>' cannot be used with",
                "(HTTP_ADDR)\n  --topic <TOPIC>",
            ],
        );
        check("", &["subcommand"]);
    }

    #[test]
    fn what_can_be_read_is_there_beside_what_cannot() {
        let arguments = "test serve --http-addr nowhere --http-workers=0 --admin-addr 127.0.0.1:1 --drain-delay soon --word a --word-file b";
        let arguments: Vec<OsString> = arguments.split_whitespace().map(OsString::from).collect();
        let readable = all_faults(Command::command(), &arguments).readable.unwrap();
        let (verb, readable) = readable.subcommand().unwrap();
        assert_eq!(verb, "serve");
        assert_eq!(
            readable.get_one("admin_addr"),
            Some(&SocketAddr::from(([127, 0, 0, 1], 1)))
        );
        assert_eq!(readable.get_one("drain_delay"), Some(&Duration::from_secs(5)));
        for absent in ["http_addr", "http_workers", "pin", "topic"] {
            assert!(!readable.contains_id(absent), "{absent}");
        }
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
