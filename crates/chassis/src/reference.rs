//! `reference`: the clap definitions as Markdown, of which `docs/configuration.md` is made.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};

/// Prints the binary's verbs with their flags.
#[expect(clippy::print_stdout, reason = "it is this verb's answer")]
pub(crate) fn print(command: Command) -> ExitCode {
    print!("{}", markdown(command));
    ExitCode::SUCCESS
}

fn markdown(mut command: Command) -> String {
    // Until then global flags are only at the root.
    command.build();
    let mut text = format!("## {}\n\n{}\n", command.get_name(), about(&command));
    // What `check-config` takes is what `serve` takes.
    let serve: Vec<String> = command
        .find_subcommand("serve")
        .map(|serve| names(serve).collect())
        .unwrap_or_default();
    verbs(&mut text, command.get_name(), &command, &serve);
    text
}

/// The verbs of `command`, each followed by its own; `path` is what stands before them.
fn verbs(text: &mut String, path: &str, command: &Command, serve: &[String]) {
    for verb in command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
    {
        let path = format!("{path} {}", verb.get_name());
        let _ = write!(text, "\n### {path}\n\n{}\n", about(verb));
        if verb.get_name() == "serve" || !names(verb).eq(serve.iter().cloned()) {
            list_flags(text, verb);
        }
        verbs(text, &path, verb, serve);
    }
}

fn list_flags(text: &mut String, verb: &Command) {
    for (heading, flags) in by_heading(verb, verb.get_name() == "serve") {
        let _ = write!(text, "\n**{heading}**\n\n");
        for flag in flags {
            let _ = writeln!(text, "- {}", entry(verb, flag));
        }
    }
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    about
        .map(|about| sentence(&about.to_string()))
        .unwrap_or_default()
}

/// clap takes the full stop from texts of one paragraph.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version"))
}

fn names(command: &Command) -> impl Iterator<Item = String> {
    flags(command).map(|flag| flag.get_id().to_string())
}

/// Flags that every verb takes are told once.
fn by_heading(command: &Command, with_global: bool) -> Vec<(String, Vec<&Arg>)> {
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for flag in flags(command).filter(|flag| with_global || !flag.is_global_set()) {
        let plain = if flag.is_positional() {
            "Arguments"
        } else {
            "Options"
        };
        let heading = flag.get_help_heading().unwrap_or(plain);
        match groups.iter_mut().find(|(known, _)| known == heading) {
            Some((_, group)) => group.push(flag),
            None => groups.push((heading.to_owned(), vec![flag])),
        }
    }
    groups
}

/// `` `--flag <VALUE>`, `VARIABLE`, default `x`: what it is. ``
fn entry(verb: &Command, flag: &Arg) -> String {
    let mut text = format!("`{}`", flag.to_string().replace('`', ""));
    if let Some(variable) = flag.get_env() {
        let _ = write!(text, ", `{}`", variable.to_string_lossy());
    }
    let takes_value = !matches!(flag.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
    let values: Vec<String> = flag
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if takes_value && !values.is_empty() {
        let _ = write!(text, ", one of {}", values.join(" "));
    }
    let defaults: Vec<String> = flag
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    match defaults.as_slice() {
        _ if !takes_value || flag.is_hide_default_value_set() => {}
        [] if flag.is_required_set() => text.push_str(", **required**"),
        [] => text.push_str(&alternatives(verb, flag)),
        defaults => {
            let _ = write!(text, ", default {}", defaults.join(" "));
        }
    }
    let help = flag.get_long_help().or(flag.get_help());
    let help = help.map(|help| help.to_string()).unwrap_or_default();
    let one_line = help.replace("\n\n", " ").replace('\n', " ");
    let _ = write!(text, ": {}", sentence(&one_line));
    text
}

/// Which other flags will do, where one of several has to be given.
fn alternatives(verb: &Command, flag: &Arg) -> String {
    let choice = verb
        .get_groups()
        .find(|group| group.is_required_set() && group.get_args().any(|id| id == flag.get_id()));
    let Some(choice) = choice else {
        return String::new();
    };
    let others: Vec<String> = flags(verb)
        .filter(|other| other.get_id() != flag.get_id() && choice.get_args().any(|id| id == other.get_id()))
        .filter_map(|other| other.get_long().map(|long| format!("`--{long}`")))
        .collect();
    format!(", **required** unless {} is given", others.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    #[command(name = "demo", about = "Shows things.")]
    enum Demo {
        /// Serve.
        Serve(Flags),
        /// Check.
        CheckConfig(Flags),
        /// Look.
        #[command(subcommand)]
        Look(Look),
        /// Secret.
        #[command(hide = true)]
        Reference,
    }

    #[derive(clap::Subcommand)]
    enum Look {
        /// At one.
        At {
            /// Which.
            thing: String,
            /// How far away it may be.
            #[arg(long)]
            within: Option<u8>,
        },
    }

    #[derive(clap::Args)]
    #[command(next_help_heading = "Things")]
    struct Flags {
        /// How many.
        ///
        /// Not too many.
        #[arg(long, env = "COUNT", default_value = "3")]
        count: u8,
        /// Where.
        #[arg(long)]
        place: String,
        #[command(flatten)]
        word: Word,
        /// Loudly.
        #[arg(long)]
        loud: bool,
    }

    #[derive(clap::Args)]
    #[group(required = true, multiple = false)]
    struct Word {
        /// What to say.
        #[arg(long)]
        word: Option<String>,
        /// The file that says it.
        #[arg(long)]
        word_file: Option<String>,
    }

    #[test]
    fn each_flag_is_one_entry_with_variable_default_and_the_whole_help() {
        let expected = "\
## demo

Shows things.

### demo serve

Serve.

**Things**

- `--count <COUNT>`, `COUNT`, default `3`: How many. Not too many.
- `--place <PLACE>`, **required**: Where.
- `--word <WORD>`, **required** unless `--word-file` is given: What to say.
- `--word-file <WORD_FILE>`, **required** unless `--word` is given: The file that says it.
- `--loud`: Loudly.

### demo check-config

Check.

### demo look

Look.

### demo look at

At one.

**Arguments**

- `<THING>`, **required**: Which.

**Options**

- `--within <WITHIN>`: How far away it may be.
";
        assert_eq!(markdown(<Demo as clap::CommandFactory>::command()), expected);
    }
}
