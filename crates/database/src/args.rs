use std::time::Duration;

use settings::duration;
use settings::{Secret, Setting, Unreadable};
use tls::{ClientArgs, Verify};
use tokio_postgres::config::SslMode;

/// The database of a serving process, reached as its runtime role.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "PostgreSQL")]
pub struct DatabaseArgs {
    #[command(flatten)]
    pub access: Access,

    /// Most connections that this process holds open at once (1 to 1000).
    ///
    /// They are opened when they are needed. All replicas together must stay below the server's `max_connections`.
    #[arg(long, env = "DB_MAX_CONNECTIONS", value_name = "COUNT", default_value = "10", value_parser = connections)]
    pub db_max_connections: usize,

    /// How long the start waits for a dependency that it can't do without (0s to 1h); then the process exits with 69.
    ///
    /// That is PostgreSQL, and for a consumer Kafka, each in turn. The log says what is waited for.
    #[arg(long, env = "START_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration(Duration::ZERO..=Duration::from_secs(3600)))]
    pub start_timeout: Duration,
}

/// The database of an operator's command: of `migrate` as its owner role, of others as the runtime role.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "PostgreSQL")]
pub struct CommandArgs {
    #[command(flatten)]
    pub access: Access,

    /// How long the command waits for PostgreSQL (0s to 1h); then it exits with 69. The log says what is waited for.
    #[arg(long, env = "START_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration(Duration::ZERO..=Duration::from_secs(3600)))]
    pub start_timeout: Duration,
}

/// How a database is reached: the URL, and the files that TLS needs. Both are read again at each new connection, so that neither a
/// rotated password nor a rotated certificate needs a restart. `Debug` never shows the password.
#[derive(Clone, Debug, clap::Args)]
pub struct Access {
    #[command(flatten)]
    url: Secret<DatabaseUrl>,
    #[command(flatten)]
    pub(crate) tls: ClientArgs<DatabaseUrl>,
}

impl Access {
    pub fn new(url: Secret<DatabaseUrl>, tls: ClientArgs<DatabaseUrl>) -> Access {
        Access { url, tls }
    }

    /// What is wrong with the settings; nothing is connected to.
    pub fn fault(&self) -> Option<String> {
        let target = match self.read() {
            Ok(target) => target,
            Err(error) => return Some(error.to_string()),
        };
        let Some(verify) = target.verify else {
            let unused = !self.tls.is_empty();
            return unused.then(|| "DATABASE_URL: sslmode=disable, but files for TLS are given".to_owned());
        };
        let error = self.tls.client().config(verify).err()?;
        Some(format!("TLS to PostgreSQL: {error}"))
    }

    /// What the next connection is made with.
    pub(crate) fn read(&self) -> Result<Target, Unusable> {
        let url = self.url.read()?;
        Ok(parse_url(&url, self.tls.files().ca.is_some())?)
    }
}

impl From<&str> for Access {
    fn from(url: &str) -> Access {
        Access::new(Secret::of(url), ClientArgs::default())
    }
}

impl From<&String> for Access {
    fn from(url: &String) -> Access {
        Access::from(url.as_str())
    }
}

impl From<&Access> for Access {
    fn from(access: &Access) -> Access {
        access.clone()
    }
}

/// `DATABASE_URL`.
pub struct DatabaseUrl;

impl Setting for DatabaseUrl {
    const ENV: &'static str = "DATABASE_URL";
    const VALUE_NAME: &'static str = "URL";
    const HELP: &'static str = "URL of the process's own database, as its runtime role to serve and as its owner role to migrate: \
        `postgres://role:password@host:port/database?sslmode=verify-full`. sslmode means what it means to libpq: disable, \
        prefer (the default), require, verify-ca or verify-full (the default with DATABASE_CA_FILE)";
    const REQUIRED: bool = true;

    fn check(url: &str) -> Result<(), String> {
        parse_url(url, false)
            .map(drop)
            .map_err(|InvalidUrl(reason)| reason.to_owned())
    }
}

impl tls::Peer for DatabaseUrl {
    const PREFIX: &'static str = "DATABASE";
    const NAME: &'static str = "PostgreSQL";
}

/// Why no connection can be made with the settings as they are now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Secret(#[from] Unreadable),
    #[error(transparent)]
    Url(#[from] InvalidUrl),
}

/// Why a database URL cannot be used. The text never holds any part of the URL, because every part may be a mistyped password.
#[derive(Debug, thiserror::Error)]
#[error("invalid DATABASE_URL: {0}")]
pub(crate) struct InvalidUrl(&'static str);

/// A parsed URL.
pub(crate) struct Target {
    pub(crate) config: tokio_postgres::Config,
    /// How the server is verified; `None` is a connection without TLS.
    pub(crate) verify: Option<Verify>,
}

pub(crate) fn parse_url(url: &str, has_ca: bool) -> Result<Target, InvalidUrl> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(InvalidUrl("it does not start with postgres://"));
    }
    let (url, mode) = take_sslmode(url)?;
    let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
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
    // As libpq has it: a CA makes `require` mean `verify-ca`. Unlike there it makes `verify-full` the default: whoever names a CA wants
    // to know who answers.
    let (ssl_mode, verify) = match mode.unwrap_or(if has_ca { "verify-full" } else { "prefer" }) {
        "disable" => (SslMode::Disable, None),
        "prefer" => (SslMode::Prefer, Some(Verify::Nothing)),
        "require" if !has_ca => (SslMode::Require, Some(Verify::Nothing)),
        "require" | "verify-ca" => (SslMode::Require, Some(Verify::Chain)),
        "verify-full" => (SslMode::Require, Some(Verify::Full)),
        _ => {
            return Err(InvalidUrl(
                "sslmode is none of disable, prefer, require, verify-ca, verify-full",
            ));
        }
    };
    config.ssl_mode(ssl_mode);
    Ok(Target { config, verify })
}

/// Splits the URL's `sslmode` off, because tokio-postgres knows only three of libpq's.
fn take_sslmode(url: &str) -> Result<(String, Option<&str>), InvalidUrl> {
    let Some((before, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), None));
    };
    let mut mode = None;
    let mut others = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", _)) if mode.is_some() => return Err(InvalidUrl("it names sslmode twice")),
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert" | "sslcert" | "sslkey", _)) => {
                return Err(InvalidUrl(
                    "files are named by DATABASE_CA_FILE, DATABASE_CLIENT_CERT_FILE and DATABASE_CLIENT_KEY_FILE, not in the URL",
                ));
            }
            _ => others.push(parameter),
        }
    }
    Ok(match others.as_slice() {
        [] => (before.to_owned(), mode),
        others => (format!("{before}?{}", others.join("&")), mode),
    })
}

fn connections(value: &str) -> Result<usize, &'static str> {
    value
        .parse()
        .ok()
        .filter(|count| (1..=1000).contains(count))
        .ok_or("it is not a number from 1 to 1000")
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
                assert!(command.database.access.read().is_ok());
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
            "postgres://app:hunter2@db/app?sslmode=hunter2",
            Err("sslmode is none of"),
        );
        check(
            "postgres://app:hunter2@db/app?sslmode=require&sslmode=disable",
            Err("sslmode twice"),
        );
        check(
            "postgres://app:hunter2@db/app?sslrootcert=/ca.pem",
            Err("DATABASE_CA_FILE"),
        );
    }

    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        let check = |query: &str, has_ca: bool, expected: (SslMode, Option<Verify>)| {
            let target = parse_url(&format!("postgres://a:b@c/d{query}"), has_ca).unwrap();
            assert_eq!(
                (target.config.get_ssl_mode(), target.verify),
                expected,
                "{query} {has_ca}"
            );
        };
        check("", false, (SslMode::Prefer, Some(Verify::Nothing)));
        check("", true, (SslMode::Require, Some(Verify::Full)));
        check("?sslmode=disable", true, (SslMode::Disable, None));
        check(
            "?sslmode=prefer&keepalives=1",
            true,
            (SslMode::Prefer, Some(Verify::Nothing)),
        );
        check(
            "?keepalives=1&sslmode=require",
            false,
            (SslMode::Require, Some(Verify::Nothing)),
        );
        check("?sslmode=require", true, (SslMode::Require, Some(Verify::Chain)));
        check(
            "?sslmode=verify-ca",
            false,
            (SslMode::Require, Some(Verify::Chain)),
        );
        check(
            "?sslmode=verify-full",
            false,
            (SslMode::Require, Some(Verify::Full)),
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
