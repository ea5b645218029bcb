use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tokio_postgres::config::SslMode;

/// The database of a serving process, reached as its runtime role.
///
/// `Debug` never shows the password.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "PostgreSQL")]
pub struct DatabaseArgs {
    /// URL of the process's own database, as its runtime role: `postgres://role:password@host:port/database`.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = UrlParser)]
    pub database_url: String,

    /// Most connections that this process holds open at once (1 to 1000).
    ///
    /// They are opened when they are needed. All replicas together must stay below the server's `max_connections`.
    #[arg(long, env = "DB_MAX_CONNECTIONS", value_name = "COUNT", default_value = "10", value_parser = connections)]
    pub db_max_connections: usize,

    /// How long the start waits for a dependency that it can't do without (0s to 1h); then the process exits with 69.
    ///
    /// That is PostgreSQL, and for a consumer Kafka, each in turn. The log says what is waited for.
    #[arg(long, env = "START_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = start_timeout)]
    pub start_timeout: Duration,
}

/// The database of a `migrate` command, reached as its owner role.
///
/// `Debug` never shows the password.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "PostgreSQL")]
pub struct MigrateArgs {
    /// URL of the database to migrate, as its owner role: `postgres://role:password@host:port/database`.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = UrlParser)]
    pub database_url: String,
}

impl fmt::Debug for DatabaseArgs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DatabaseArgs")
            .field("database_url", &Redacted(&self.database_url))
            .field("db_max_connections", &self.db_max_connections)
            .field("start_timeout", &self.start_timeout)
            .finish()
    }
}

impl fmt::Debug for MigrateArgs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MigrateArgs")
            .field("database_url", &Redacted(&self.database_url))
            .finish()
    }
}

/// What is safe to show of a database URL: role, first host and database.
struct Redacted<'a>(&'a str);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parse_url(self.0) {
            Err(_) => out.write_str("(invalid)"),
            Ok(config) => write!(
                out,
                "{}@{:?}/{}",
                config.get_user().unwrap_or_default(),
                config.get_hosts(),
                config.get_dbname().unwrap_or_default(),
            ),
        }
    }
}

/// Why a database URL cannot be used. The text never holds any part of the URL, because every part may be a mistyped password.
#[derive(Debug, thiserror::Error)]
#[error("invalid DATABASE_URL: {0}")]
pub(crate) struct InvalidUrl(&'static str);

pub(crate) fn parse_url(url: &str) -> Result<tokio_postgres::Config, InvalidUrl> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(InvalidUrl("it does not start with postgres://"));
    }
    let config: tokio_postgres::Config = url.parse().map_err(|_| {
        InvalidUrl(
            "it cannot be parsed as postgres://role:password@host:port/database?option=value \
             (a special character in the password must be percent-encoded)",
        )
    })?;
    if config.get_user().is_none() {
        return Err(InvalidUrl("it names no role"));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(InvalidUrl("it names no host"));
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        return Err(InvalidUrl("it names no database"));
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err(InvalidUrl("sslmode=require is not supported yet"));
    }
    Ok(config)
}

/// clap's own error for a bad value quotes the value, which here holds a password.
#[derive(Clone)]
struct UrlParser;

impl TypedValueParser for UrlParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let refuse = |reason: &InvalidUrl| {
            let mut error =
                clap::Error::raw(ErrorKind::ValueValidation, format!("{reason}\n")).with_cmd(command);
            if let Some(arg) = arg {
                error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
            }
            error
        };
        let url = value
            .to_str()
            .ok_or_else(|| refuse(&InvalidUrl("it is not valid UTF-8")))?;
        parse_url(url).map_err(|reason| refuse(&reason))?;
        Ok(url.to_owned())
    }
}

fn connections(value: &str) -> Result<usize, &'static str> {
    value
        .parse()
        .ok()
        .filter(|count| (1..=1000).contains(count))
        .ok_or("it is not a number from 1 to 1000")
}

fn start_timeout(value: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(value)
        .ok()
        .filter(|duration| *duration <= Duration::from_secs(3600))
        .ok_or("it is not a duration from 0s to 1h, like 30s or 5m")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        database: DatabaseArgs,
    }

    fn check(url: &str, expected: Result<(), &str>) {
        let parsed = Command::try_parse_from(["test", "--database-url", url]);
        match (parsed, expected) {
            (Ok(command), Ok(())) => {
                assert_eq!(command.database.database_url, url);
                assert!(!format!("{command:?}").contains("hunter2"), "{command:?}");
            }
            (Err(error), Err(reason)) => {
                let text = error.to_string();
                assert!(text.contains("DATABASE_URL"), "{text}");
                assert!(text.contains(reason), "{text}");
                assert!(!text.contains("hunter2"), "{text}");
            }
            (parsed, expected) => panic!("{url}: {parsed:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_bad_url_is_refused_with_its_reason_and_without_the_password() {
        check("postgres://app_runtime:hunter2@127.0.0.1:5432/app", Ok(()));
        check("postgresql://app_runtime:hunter2@db/app?options=-cx%3D1", Ok(()));
        check("mysql://app:hunter2@db/app", Err("does not start with"));
        check("hunter2", Err("does not start with"));
        check("postgres://app:hunter2@db", Err("no database"));
        check("postgres://app:hunter2@/app", Err("no host"));
        check("postgres://db/app", Err("no role"));
        check("postgres://app:hunter2@db:port/app", Err("cannot be parsed"));
        check("postgres://app:hunter2@db/app?hunter2=1", Err("cannot be parsed"));
        check(
            "postgres://app:hunter2@db/app?sslmode=require",
            Err("sslmode=require"),
        );
    }

    #[test]
    fn a_pool_of_zero_connections_is_refused() {
        let parsed = Command::try_parse_from([
            "test",
            "--database-url",
            "postgres://a:b@c/d",
            "--db-max-connections",
            "0",
        ]);
        assert!(parsed.is_err());
    }
}
