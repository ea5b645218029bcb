use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use deadpool_redis::redis::{Client, ConnectionInfo, IntoConnectionInfo as _};

/// Where the cache is, and what holds for all of its namespaces.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct CacheArgs {
    /// Redis, as the process's own user: `redis://user:password@host:port`. A Redis Cluster: `redis-cluster://user:password@host:port,host:port`
    /// with some of its nodes. With TLS: `rediss://` and `rediss-cluster://`.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true, value_parser = RedisUrlParser)]
    pub redis_url: RedisUrl,

    /// How long one Redis command may take; after that a read goes to its source. A Redis in the same zone answers in less than 1 ms: 25 ms
    /// is trouble, and no reader's budget is hurt by waiting that long once.
    #[arg(
        long,
        env = "REDIS_COMMAND_TIMEOUT",
        value_name = "DURATION",
        default_value = "25ms",
        value_parser = humantime::parse_duration
    )]
    pub redis_command_timeout: Duration,

    /// A part of every key, for deployments that share one Redis: letters, digits, `-`, `_` and `.`, at most 40.
    #[arg(long, env = "CACHE_SCOPE", value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = scope)]
    pub cache_scope: String,

    /// How old an entry may be while nobody confirms that invalidations arrive, which the watermark does. It must exceed the longest lease
    /// (5 s) and the time in which another replica takes over the invalidations (6 s). 0s turns it off: right only where nothing publishes a watermark.
    #[arg(
        long,
        env = "CACHE_STALENESS_BOUND",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = humantime::parse_duration
    )]
    pub cache_staleness_bound: Duration,

    /// One in so many hits is compared with its source; 0 compares none. At 10,000 the comparisons cost the database less than the misses do.
    #[arg(long, env = "CACHE_AUDIT_EVERY", value_name = "HITS", default_value = "10000")]
    pub cache_audit_every: u32,
}

impl CacheArgs {
    /// The defaults, for the Redis at `url`.
    pub fn at(url: RedisUrl) -> CacheArgs {
        CacheArgs {
            redis_url: url,
            redis_command_timeout: Duration::from_millis(25),
            cache_scope: String::new(),
            cache_staleness_bound: Duration::from_secs(15),
            cache_audit_every: 10_000,
        }
    }
}

fn scope(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.len() <= 40 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a scope is at most 40 letters, digits, '-', '_' and '.'")
    }
}

/// A URL that has been parsed; `Debug` never shows the password.
#[derive(Clone)]
pub struct RedisUrl {
    topology: Topology,
}

/// What stands behind a URL.
#[derive(Clone)]
pub(crate) enum Topology {
    Single(ConnectionInfo),
    /// Some nodes of it; they know the others.
    Cluster(Vec<ConnectionInfo>),
}

/// The URL is none. The text holds no part of it, because every part may be a mistyped password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid REDIS_URL: it is neither of the form redis://user:password@host:port \
     nor redis-cluster://user:password@host:port,host:port (rediss:// and rediss-cluster:// with TLS)"
)]
pub struct InvalidUrl;

impl RedisUrl {
    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }
}

impl FromStr for RedisUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<RedisUrl, InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl)?;
        let topology = match scheme {
            "redis" | "rediss" => Topology::Single(node(url)?),
            "redis-cluster" | "rediss-cluster" => {
                let scheme = scheme.trim_end_matches("-cluster");
                let (user, hosts) = match rest.rsplit_once('@') {
                    Some((user, hosts)) => (format!("{user}@"), hosts),
                    None => (String::new(), rest),
                };
                // A cluster has one database, so that a path would mean nothing.
                if hosts.contains('/') {
                    return Err(InvalidUrl);
                }
                let nodes = hosts
                    .split(',')
                    .map(|host| node(&format!("{scheme}://{user}{host}")));
                Topology::Cluster(nodes.collect::<Result<_, _>>()?)
            }
            _ => return Err(InvalidUrl),
        };
        Ok(RedisUrl { topology })
    }
}

fn node(url: &str) -> Result<ConnectionInfo, InvalidUrl> {
    let info = url.into_connection_info().map_err(|_| InvalidUrl)?;
    // It also checks what the connection needs, as TLS.
    Client::open(info.clone()).map_err(|_| InvalidUrl)?;
    Ok(info)
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match &self.topology {
            Topology::Single(node) => std::slice::from_ref(node),
            Topology::Cluster(nodes) => nodes,
        };
        let addresses = nodes.iter().map(|node| node.addr().to_string());
        out.write_str(&addresses.collect::<Vec<_>>().join(","))
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
    fn the_defaults_of_the_command_line_are_those_of_the_code() {
        let parsed = Command::try_parse_from(["test", "--redis-url", "redis://h"]).unwrap();
        let built = CacheArgs::at("redis://h".parse().unwrap());
        assert_eq!(format!("{:?}", parsed.cache), format!("{built:?}"));
    }
}
