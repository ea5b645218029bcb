use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use deadpool_redis::redis::{Client, IntoConnectionInfo as _};

/// Where the cache is.
#[derive(Clone, Debug, clap::Args)]
pub struct CacheArgs {
    /// Redis, as the process's own user: `redis://user:password@host:port`.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true, value_parser = RedisUrlParser)]
    pub redis_url: RedisUrl,

    /// How long one Redis command may take; after that a read goes to its source.
    #[arg(
        long,
        env = "REDIS_COMMAND_TIMEOUT",
        value_name = "DURATION",
        default_value = "25ms",
        value_parser = humantime::parse_duration
    )]
    pub redis_command_timeout: Duration,
}

/// A URL that has been parsed; `Debug` never shows the password.
#[derive(Clone)]
pub struct RedisUrl(Client);

/// The URL is none. The text holds no part of it, because every part may be a mistyped password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid REDIS_URL: it is not of the form redis://user:password@host:port")]
pub struct InvalidUrl;

impl RedisUrl {
    pub(crate) fn client(&self) -> Client {
        self.0.clone()
    }
}

impl FromStr for RedisUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<RedisUrl, InvalidUrl> {
        let info = url.into_connection_info().map_err(|_| InvalidUrl)?;
        Client::open(info).map(RedisUrl).map_err(|_| InvalidUrl)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.get_connection_info().addr(), out)
    }
}

/// clap's own error for a bad value quotes the value, which here holds a password.
#[derive(Clone)]
struct RedisUrlParser;

impl clap::builder::TypedValueParser for RedisUrlParser {
    type Value = RedisUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<RedisUrl, clap::Error> {
        value
            .to_str()
            .ok_or(InvalidUrl)
            .and_then(str::parse)
            .map_err(|reason| {
                clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{reason}\n"))
                    .with_cmd(command)
            })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        cache: CacheArgs,
    }

    #[test]
    fn a_password_is_shown_neither_by_debug_nor_by_an_error() {
        for (url, valid) in [
            ("redis://app-service:hunter2@127.0.0.1:6379", true),
            ("redis://:hunter2@127.0.0.1:6379/0", true),
            ("hunter2", false),
            ("http://app:hunter2@127.0.0.1", false),
            ("redis://app:hunter2@host:port", false),
        ] {
            let parsed = Command::try_parse_from(["test", "--redis-url", url]);
            assert_eq!(parsed.is_ok(), valid, "{url}");
            let shown = match parsed {
                Ok(command) => format!("{command:?}"),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
