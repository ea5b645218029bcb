//! A setting that holds a secret: given as it is (`DATABASE_URL`) or as a file that holds it (`DATABASE_URL_FILE`), never both.
//!
//! The file is read again whenever the secret is needed, which is at each new connection. Rotating it is: make the new secret valid,
//! replace the file, take the old one's validity away; no process is restarted, and connections that are open stay so.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgGroup, ArgMatches, Args, Command, FromArgMatches, Id};

/// Largest secret file, in bytes; what is larger is some other file.
const MOST_BYTES: u64 = 64 * 1024;

/// Which secret a [`Secret`] is: its names, its help, its form.
pub trait Setting: Send + Sync + 'static {
    /// The environment variable, `DATABASE_URL`. The flag is the same in kebab case, and the file's names end in `_FILE` and `-file`.
    const ENV: &'static str;
    const VALUE_NAME: &'static str;
    const HELP: &'static str;
    /// Whether the process needs it in any case.
    const REQUIRED: bool;

    /// Whether `text` has the secret's form.
    ///
    /// # Errors
    /// What is wrong with it. The reason must hold no part of the text, because every part may be a mistyped password.
    fn check(text: &str) -> Result<(), String>;
}

/// A secret, or the file that holds it. `Debug` never shows the secret.
pub struct Secret<S> {
    source: Source,
    setting: PhantomData<fn() -> S>,
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Text(String),
    File(PathBuf),
}

/// The file of a secret cannot be used now. The text holds no part of the secret.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {}: {reason}", path.display())]
pub struct Unreadable {
    name: String,
    path: PathBuf,
    reason: String,
}

impl<S: Setting> Secret<S> {
    pub fn of(text: impl Into<String>) -> Secret<S> {
        Secret::from(Source::Text(text.into()))
    }

    pub fn in_file(path: impl Into<PathBuf>) -> Secret<S> {
        Secret::from(Source::File(path.into()))
    }

    /// The secret as it is now. Reads a small file: ask at each new connection, and keep the answer no longer than that.
    ///
    /// # Errors
    /// When there is a file and it cannot be read, or holds nothing of the secret's form.
    pub fn read(&self) -> Result<String, Unreadable> {
        match &self.source {
            Source::Text(text) => Ok(text.clone()),
            Source::File(path) => {
                let text = read(path).and_then(|text| S::check(&text).map(|()| text));
                text.map_err(|reason| Unreadable {
                    name: file_env::<S>(),
                    path: path.clone(),
                    reason,
                })
            }
        }
    }

    fn from(source: Source) -> Secret<S> {
        Secret {
            source,
            setting: PhantomData,
        }
    }
}

/// Without the newline that editors and `echo` leave at the end.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("is larger than {MOST_BYTES} bytes"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(text)
}

impl<S> Clone for Secret<S> {
    fn clone(&self) -> Secret<S> {
        Secret {
            source: self.source.clone(),
            setting: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Secret<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Text(_) => out.write_str("(hidden)"),
            Source::File(path) => path.fmt(out),
        }
    }
}

fn flag<S: Setting>() -> String {
    S::ENV.to_ascii_lowercase().replace('_', "-")
}

fn file_flag<S: Setting>() -> String {
    format!("{}-file", flag::<S>())
}

fn file_env<S: Setting>() -> String {
    format!("{}_FILE", S::ENV)
}

impl<S: Setting> Args for Secret<S> {
    fn augment_args(command: Command) -> Command {
        let text = Arg::new(flag::<S>())
            .long(flag::<S>())
            .env(S::ENV)
            .value_name(S::VALUE_NAME)
            .hide_env_values(true)
            .value_parser(TextParser::<S>(PhantomData))
            .help(S::HELP);
        let file = Arg::new(file_flag::<S>())
            .long(file_flag::<S>())
            .env(file_env::<S>())
            .value_name("FILE")
            .value_parser(FileParser::<S>(PhantomData))
            .help(format!(
                "File that holds {} instead; it is read again at each new connection, so that rotation needs no restart",
                S::ENV
            ));
        let either = ArgGroup::new(S::ENV)
            .args([flag::<S>(), file_flag::<S>()])
            .required(S::REQUIRED);
        command.arg(text).arg(file).group(either)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }

    /// For `Option<Secret<S>>`, and for arguments that require the secret.
    fn group_id() -> Option<Id> {
        Some(Id::from(S::ENV))
    }
}

impl<S: Setting> FromArgMatches for Secret<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Secret<S>, clap::Error> {
        let text = matches.get_one::<String>(&flag::<S>());
        let file = matches.get_one::<PathBuf>(&file_flag::<S>());
        match (text, file) {
            (Some(text), _) => Ok(Secret::of(text)),
            (None, Some(path)) => Ok(Secret::in_file(path)),
            (None, None) => Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                format!("neither {} nor {} is set\n", S::ENV, file_env::<S>()),
            )),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

struct TextParser<S>(PhantomData<fn() -> S>);

impl<S> Clone for TextParser<S> {
    fn clone(&self) -> Self {
        TextParser(PhantomData)
    }
}

impl<S: Setting> TypedValueParser for TextParser<S> {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        value
            .to_str()
            .ok_or_else(|| "it is not UTF-8".to_owned())
            .and_then(|text| S::check(text).map(|()| text.to_owned()))
            .map_err(|reason| refusal(command, arg, &format!("invalid {}: {reason}", S::ENV)))
    }
}

/// Reads the file once, so that a wrong path ends the start and not the first connection.
struct FileParser<S>(PhantomData<fn() -> S>);

impl<S> Clone for FileParser<S> {
    fn clone(&self) -> Self {
        FileParser(PhantomData)
    }
}

impl<S: Setting> TypedValueParser for FileParser<S> {
    type Value = PathBuf;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<PathBuf, clap::Error> {
        let path = PathBuf::from(value);
        match Secret::<S>::in_file(&path).read() {
            Ok(_) => Ok(path),
            Err(error) => Err(refusal(command, arg, &format!("invalid {error}"))),
        }
    }
}

/// clap's own error for a bad value quotes the value, which here may be a password.
fn refusal(command: &Command, arg: Option<&Arg>, text: &str) -> clap::Error {
    let mut error = clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n")).with_cmd(command);
    if let Some(arg) = arg {
        error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    struct Token;

    impl Setting for Token {
        const ENV: &'static str = "SOME_TOKEN";
        const VALUE_NAME: &'static str = "TOKEN";
        const HELP: &'static str = "A token.";
        const REQUIRED: bool = true;

        fn check(text: &str) -> Result<(), String> {
            if text.starts_with("tok-") {
                Ok(())
            } else {
                Err("it does not start with tok-".to_owned())
            }
        }
    }

    struct Pin;

    impl Setting for Pin {
        const ENV: &'static str = "SOME_PIN";
        const VALUE_NAME: &'static str = "PIN";
        const HELP: &'static str = "A pin.";
        const REQUIRED: bool = false;

        fn check(_: &str) -> Result<(), String> {
            Ok(())
        }
    }

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        token: Secret<Token>,
        #[command(flatten)]
        pin: Option<Secret<Pin>>,
    }

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        Command::try_parse_from([&["test"], arguments].concat()).map_err(|error| error.to_string())
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_secret_is_text_or_the_content_of_a_file_read_anew_each_time() {
        let given = parse(&["--some-token", "tok-hunter2"]).unwrap();
        assert_eq!(given.token.read().unwrap(), "tok-hunter2");
        assert!(given.pin.is_none());
        assert!(!format!("{given:?}").contains("hunter2"));

        let file = file(b"tok-one\n");
        let path = file.path().to_str().unwrap();
        let named = parse(&["--some-token-file", path, "--some-pin", "7"]).unwrap();
        assert_eq!(named.token.read().unwrap(), "tok-one");
        assert_eq!(named.pin.unwrap().read().unwrap(), "7");
        for (content, expected) in [
            ("tok-two", "tok-two"),
            ("tok-three\r\n", "tok-three"),
            ("tok-\n\n", "tok-\n"),
        ] {
            std::fs::write(path, content).unwrap();
            assert_eq!(named.token.read().unwrap(), expected);
        }
        std::fs::write(path, "hunter2").unwrap();
        let error = named.token.read().unwrap_err().to_string();
        assert!(error.starts_with("SOME_TOKEN_FILE: "), "{error}");
        assert!(error.contains("tok-") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn both_and_neither_are_refused_and_both_names_are_in_the_error() {
        let file = file(b"tok-one");
        let path = file.path().to_str().unwrap();
        for arguments in [
            vec![],
            vec!["--some-token", "tok-hunter2", "--some-token-file", path],
        ] {
            let error = parse(&arguments).unwrap_err();
            assert!(
                error.contains("--some-token <TOKEN>") || error.contains("--some-token "),
                "{error}"
            );
            assert!(error.contains("--some-token-file <FILE>"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_bad_secret_ends_the_start_with_its_reason_and_is_not_shown() {
        let check = |content: &[u8], reason: &str| {
            let file = file(content);
            let error = parse(&["--some-token-file", file.path().to_str().unwrap()]).unwrap_err();
            assert!(error.contains("SOME_TOKEN_FILE"), "{error}");
            assert!(error.contains(reason), "{reason} in {error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        check(b"hunter2", "does not start with tok-");
        check(b"\n", "is empty");
        check(b"tok-\xff hunter2", "not UTF-8");
        check(&vec![b'x'; MOST_BYTES as usize + 1], "larger than");
        let error = parse(&["--some-token-file", "/nowhere/token"]).unwrap_err();
        assert!(error.contains("/nowhere/token: cannot be read"), "{error}");
        let error = parse(&["--some-token", "hunter2"]).unwrap_err();
        assert!(error.contains("SOME_TOKEN: it does not start"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
