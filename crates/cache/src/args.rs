use std::time::Duration;

use deadpool_redis::redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates,
};
use settings::duration;
use settings::{Secret, Setting, Unreadable};
use tls::ClientArgs;

use crate::key::is_plain;

/// Where the cache is, and what holds for all of its namespaces.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct CacheArgs {
    /// Where it is.
    #[command(flatten)]
    pub redis: Redis,

    /// How long one Redis command may take; after that a read goes to its source. A Redis in the same zone answers in less than 1 ms: 25 ms
    /// is trouble, and no reader's budget is hurt by waiting that long once (1ms to 1m).
    #[arg(
        long,
        env = "REDIS_COMMAND_TIMEOUT",
        value_name = "DURATION",
        default_value = "25ms",
        value_parser = duration(Duration::from_millis(1)..=Duration::from_secs(60))
    )]
    pub redis_command_timeout: Duration,

    /// A part of every key, for deployments that share one Redis: letters, digits, `-`, `_` and `.`, at most 40.
    #[arg(long, env = "CACHE_SCOPE", value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = scope)]
    pub cache_scope: String,

    /// How old an entry may be while nobody confirms that invalidations arrive, which the watermark does. It must exceed the longest lease
    /// (5 s) and the time in which another replica takes over the invalidations (6 s), and 15 s leaves room for both in a row: 7s to 1h. 0s
    /// turns it off: right only where nothing publishes a watermark.
    #[arg(
        long,
        env = "CACHE_STALENESS_BOUND",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = staleness_bound
    )]
    pub cache_staleness_bound: Duration,

    /// One in so many hits is compared with its source; 0 compares none. At 10,000 a process with 10,000 hits a second asks the
    /// database once a second for it.
    #[arg(long, env = "CACHE_AUDIT_EVERY", value_name = "HITS", default_value = "10000")]
    pub cache_audit_every: u32,
}

impl CacheArgs {
    /// The defaults, for the Redis at `url`.
    pub fn at(url: impl Into<String>) -> CacheArgs {
        CacheArgs {
            redis: Redis::at(url),
            redis_command_timeout: Duration::from_millis(25),
            cache_scope: String::new(),
            cache_staleness_bound: Duration::from_secs(15),
            cache_audit_every: 10_000,
        }
    }
}

fn staleness_bound(text: &str) -> Result<Duration, String> {
    if humantime::parse_duration(text).is_ok_and(|bound| bound.is_zero()) {
        return Ok(Duration::ZERO);
    }
    let bound = duration(Duration::from_secs(7)..=Duration::from_secs(3600));
    bound(text).map_err(|reason| format!("{reason}, nor 0s, which turns it off"))
}

fn scope(text: &str) -> Result<String, &'static str> {
    if is_plain(text) {
        Ok(text.to_owned())
    } else {
        Err("a scope is at most 40 letters, digits, '-', '_' and '.'")
    }
}

/// How Redis is reached: the URL, and the files that TLS needs. Both are read again at each new connection, so that neither a rotated
/// password nor a rotated certificate needs a restart; only a cluster's client reconnects to its nodes with those that it began with.
/// `Debug` never shows the password.
#[derive(Clone, Debug, clap::Args)]
pub struct Redis {
    #[command(flatten)]
    url: Secret<RedisUrl>,
    #[command(flatten)]
    tls: ClientArgs<RedisUrl>,
}

/// What stands behind a URL.
pub(crate) enum Topology {
    Single(Box<ConnectionInfo>),
    /// Some nodes of it; they know the others.
    Cluster(Vec<ConnectionInfo>),
}

/// What the next connection is made with.
pub(crate) struct Target {
    pub(crate) topology: Topology,
    /// Where the URL asks for TLS.
    pub(crate) certificates: Option<TlsCertificates>,
}

/// Why Redis cannot be reached with these settings. The text never holds any part of the URL, because every part may be a mistyped
/// password.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The URL's file cannot be read.
    #[error(transparent)]
    Secret(#[from] Unreadable),
    /// A file that TLS needs cannot be used.
    #[error("TLS to Redis: {0}")]
    File(#[from] tls::BadFile),
    /// What is wrong with the URL.
    #[error("invalid REDIS_URL: {0}")]
    Url(&'static str),
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
        if let Err(error) = self.read() {
            return Some(error.to_string());
        }
        if self.tls.is_empty() {
            return None;
        }
        let error = self.tls.client().config(tls::Verify::Full).err()?;
        Some(format!("TLS to Redis: {error}"))
    }

    /// The settings as they are now.
    pub(crate) fn read(&self) -> Result<Target, Unusable> {
        let topology = parse(&self.url.read()?).map_err(Unusable::Url)?;
        let first = match &topology {
            Topology::Single(node) => Some(&**node),
            Topology::Cluster(nodes) => nodes.first(),
        };
        let with_tls = first.is_some_and(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
        if !with_tls && !self.tls.is_empty() {
            return Err(Unusable::Url(
                "files for TLS are given, but it does not start with rediss:// or rediss-cluster://",
            ));
        }
        Ok(Target {
            topology,
            certificates: if with_tls {
                Some(self.certificates()?)
            } else {
                None
            },
        })
    }

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

/// `REDIS_URL`.
pub struct RedisUrl;

impl Setting for RedisUrl {
    const ENV: &'static str = "REDIS_URL";
    const VALUE_NAME: &'static str = "URL";
    const HELP: &'static str = "Redis, as the process's own user: `redis://user:password@host:port`. A Redis Cluster: \
        `redis-cluster://user:password@host:port,host:port` with some of its nodes. With TLS, which verifies the server's certificate and \
        name: `rediss://` and `rediss-cluster://`";
    const REQUIRED: bool = true;

    fn check(url: &str) -> Result<(), String> {
        parse(url).map(drop).map_err(str::to_owned)
    }
}

impl tls::Peer for RedisUrl {
    const PREFIX: &'static str = "REDIS";
    const NAME: &'static str = "Redis";
}

const FORM: &str = "it is neither of the form redis://user:password@host:port \
    nor redis-cluster://user:password@host:port,host:port (rediss:// and rediss-cluster:// with TLS)";

fn parse(url: &str) -> Result<Topology, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
    match scheme {
        "redis" | "rediss" => node(url).map(Box::new).map(Topology::Single),
        "redis-cluster" | "rediss-cluster" => {
            let scheme = scheme.trim_end_matches("-cluster");
            let (user, hosts) = match rest.rsplit_once('@') {
                Some((user, hosts)) => (format!("{user}@"), hosts),
                None => (String::new(), rest),
            };
            // A cluster has one database, so that a path would mean nothing.
            if hosts.contains('/') {
                return Err(FORM);
            }
            let nodes = hosts
                .split(',')
                .map(|host| node(&format!("{scheme}://{user}{host}")));
            nodes.collect::<Result<_, _>>().map(Topology::Cluster)
        }
        _ => Err(FORM),
    }
}

fn node(url: &str) -> Result<ConnectionInfo, &'static str> {
    let info = url.into_connection_info().map_err(|_| FORM)?;
    if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
        return Err(
            "#insecure, which would accept any certificate, is not supported; name the CA with REDIS_CA_FILE",
        );
    }
    // It also checks what the connection needs.
    Client::open(info.clone()).map_err(|_| FORM)?;
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
            ("rediss://app-service:hunter2@127.0.0.1:6379/#insecure", false),
            ("redis://:hunter2@127.0.0.1:6379/0", true),
            ("hunter2", false),
            ("http://app:hunter2@127.0.0.1", false),
            ("redis://app:hunter2@host:port", false),
            ("redis-cluster://app:hunter2@a:7000,b:7001,c", true),
            ("redis-cluster://app:hunter2@a:7000,b:port", false),
            ("redis-cluster://app:hunter2@a:7000,", false),
            ("redis-cluster://app:hunter2@a:7000/1", false),
            ("redis-sentinel://app:hunter2@a:7000", false),
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

    #[test]
    fn a_scope_is_plain() {
        for (scope, valid) in [("", true), ("blue-1", true), ("a{b}", false), ("a:b", false)] {
            let parsed =
                Command::try_parse_from(["test", "--redis-url", "redis://h", "--cache-scope", scope]);
            assert_eq!(parsed.is_ok(), valid, "{scope}");
        }
    }

    #[test]
    fn a_staleness_bound_exceeds_lease_and_takeover() {
        for (bound, valid) in [
            ("0s", true),
            ("6s", false),
            ("6999ms", false),
            ("7s", true),
            ("1h", true),
            ("61m", false),
        ] {
            let parsed = Command::try_parse_from([
                "test",
                "--redis-url",
                "redis://h",
                "--cache-staleness-bound",
                bound,
            ]);
            assert_eq!(parsed.is_ok(), valid, "{bound}");
            if let Err(error) = parsed {
                let message = error.to_string();
                assert!(
                    message.contains("--cache-staleness-bound") && message.contains("7s"),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_code() {
        let parsed = Command::try_parse_from(["test", "--redis-url", "redis://h"]).unwrap();
        let built = CacheArgs::at("redis://h");
        assert_eq!(format!("{:?}", parsed.cache), format!("{built:?}"));
    }
}
