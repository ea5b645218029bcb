use std::ffi::OsStr;
use std::fmt;

use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tokio_postgres::config::SslMode;

/// The database of a serving process, reached as its runtime role.
///
/// `Debug` never shows the password.
#[derive(Clone, clap::Args)]
pub struct DatabaseArgs {
    /// URL of the process's own database, as its runtime role: `postgres://role:password@host:port/database`.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = UrlParser)]
    pub database_url: String,

    /// Most connections that this process holds open at once.
    #[arg(long, env = "DB_MAX_CONNECTIONS", value_name = "COUNT", default_value = "10", value_parser = at_least_one)]
    pub db_max_connections: usize,
}

/// The database of a `migrate` command, reached as its owner role.
///
/// `Debug` never shows the password.
#[derive(Clone, clap::Args)]
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

fn at_least_one(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(0) => Err("a pool needs at least one connection".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
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
