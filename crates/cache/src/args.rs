use std::time::Duration;

use deadpool_redis::redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates,
};
use secret::{Secret, Setting, Unreadable};
use tls::ClientArgs;

/// Where the cache is.
#[derive(Clone, Debug, clap::Args)]
pub struct CacheArgs {
    #[command(flatten)]
    pub redis: Redis,

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

/// How Redis is reached; `Debug` never shows the password.
#[derive(Clone, Debug, clap::Args)]
pub struct Redis {
    #[command(flatten)]
    url: Secret<RedisUrl>,
    #[command(flatten)]
    tls: ClientArgs<RedisUrl>,
}

/// `REDIS_URL`.
pub struct RedisUrl;

/// Redis cannot be reached with these settings. The text never holds any part of the URL, because every part may be a mistyped password.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Secret(#[from] Unreadable),
    #[error("{0}")]
    File(#[from] tls::BadFile),
    #[error("invalid REDIS_URL: {0}")]
    Url(&'static str),
}

impl Setting for RedisUrl {
    const ENV: &'static str = "REDIS_URL";
    const VALUE_NAME: &'static str = "URL";
    const HELP: &'static str = "Redis, as the process's own user: `redis://user:password@host:port`, and with TLS, which verifies the server's certificate and name, `rediss://…`";
    const REQUIRED: bool = true;

    fn check(url: &str) -> Result<(), String> {
        parse(url).map(drop).map_err(str::to_owned)
    }
}

impl tls::Peer for RedisUrl {
    const PREFIX: &'static str = "REDIS";
    const NAME: &'static str = "Redis";
}

impl Redis {
    /// At a URL, without a CA or a certificate of the client's own.
    pub fn at(url: impl Into<String>) -> Redis {
        Redis {
            url: Secret::of(url),
            tls: ClientArgs::default(),
        }
    }

    /// What is wrong with the settings; nothing is connected to.
    pub fn fault(&self) -> Option<String> {
        if let Err(error) = self.client() {
            return Some(error.to_string());
        }
        if self.tls.is_empty() {
            return None;
        }
        let error = self.tls.client().config(tls::Verify::Full).err()?;
        Some(format!("TLS to Redis: {error}"))
    }

    /// With the URL and the files as they are now; so once for each new connection.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn client(&self) -> Result<Client, Unusable> {
        let info = parse(&self.url.read()?).map_err(Unusable::Url)?;
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            if !self.tls.is_empty() {
                return Err(Unusable::Url(
                    "TLS files are given, but it does not start with rediss://",
                ));
            }
            return Client::open(info).map_err(|_| Unusable::Url(FORM));
        }
        Client::build_with_tls(info, self.certificates()?).map_err(|_| Unusable::Url(FORM))
    }

    /// The files as they are now, for a client that speaks TLS.
    fn certificates(&self) -> Result<TlsCertificates, tls::BadFile> {
        // The redis crate builds rustls's configuration itself, with the provider of the process.
        tls::install_provider();
        let files = self.tls.files();
        Ok(TlsCertificates {
            root_cert: files.ca.as_deref().map(tls::read_pem).transpose()?,
            client_tls: match &files.identity {
                Some((certificate, key)) => Some(ClientTlsConfig {
                    client_cert: tls::read_pem(certificate)?,
                    client_key: tls::read_pem(key)?,
                }),
                None => None,
            },
        })
    }
}

const FORM: &str = "it is not of the form redis://user:password@host:port, or rediss://… with TLS";

fn parse(url: &str) -> Result<ConnectionInfo, &'static str> {
    let info = url.into_connection_info().map_err(|_| FORM)?;
    if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
        return Err(
            "#insecure, which would accept any certificate, is not supported; name the CA with REDIS_CA_FILE",
        );
    }
    Ok(info)
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
            ("rediss://app-service:hunter2@127.0.0.1:6379", true),
            ("redis://:hunter2@127.0.0.1:6379/0", true),
            ("hunter2", false),
            ("http://app:hunter2@127.0.0.1", false),
            ("redis://app:hunter2@host:port", false),
            ("rediss://app:hunter2@127.0.0.1:6379/#insecure", false),
        ] {
            let parsed = Command::try_parse_from(["test", "--redis-url", url]);
            assert_eq!(parsed.is_ok(), valid, "{url}");
            let shown = match parsed {
                Ok(command) => format!("{command:?} {:?}", command.cache.redis.client().is_ok()),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
