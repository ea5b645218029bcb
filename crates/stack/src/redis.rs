//! Redis: no persistence, the default user off, one user per process with an arrow to it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::architecture::Architecture;
use crate::options::Accounts;
use crate::secrets::{Account, Secrets};

/// The user that may do everything; for tests and the lab.
pub(crate) const ADMIN: &str = "admin";

/// What a process may do with its keys. FLUSHALL, KEYS, CONFIG, DEBUG and their like are `@dangerous`; INFO
/// is as well, but the cache needs it to see that the server was replaced by another. The categories exist
/// since Redis 6.
const RIGHTS: &str = "+@read +@write +@connection +@scripting +@transaction -@dangerous -@admin +info +time";

/// Where Redis is.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The URL that everyone uses when the server has other users than the architecture's.
    external: Option<String>,
    /// The server's program and folder when we run it.
    pub(crate) native: Option<Native>,
}

/// The files of a server that we run ourselves.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    program: PathBuf,
    home: PathBuf,
}

impl Redis {
    /// A server of our own: the system's, when it is newer than the bundled one.
    pub(crate) fn native(bundled: &Path, dir: &Path, port: u16) -> Redis {
        let ours = version(bundled).unwrap_or_default();
        let system = ["valkey-server", "redis-server"].map(PathBuf::from);
        let newer = system
            .into_iter()
            .find(|program| version(program).is_some_and(|theirs| theirs > ours));
        let program = newer.unwrap_or_else(|| bundled.to_owned());
        let native = Some(Native {
            program,
            home: dir.join("redis"),
        });
        Redis {
            host: "127.0.0.1".to_owned(),
            port,
            external: None,
            native,
        }
    }

    /// A server that is there already.
    pub(crate) fn external(url: &str, accounts: Accounts) -> anyhow::Result<Redis> {
        let authority = url
            .strip_prefix("redis://")
            .context("the Redis URL does not start with redis://")?;
        let authority = authority.split('/').next().unwrap_or_default();
        let address = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "6379"));
        ensure!(!host.is_empty(), "the Redis URL has no host");
        let port = port.parse().context("the Redis URL has no valid port")?;
        Ok(Redis {
            host: host.to_owned(),
            port,
            external: match accounts {
                Accounts::Given => Some(url.to_owned()),
                Accounts::Architecture => None,
            },
            native: None,
        })
    }

    /// The URL of one user.
    pub(crate) fn url(&self, user: &str, secrets: &Secrets) -> String {
        match &self.external {
            Some(url) => url.clone(),
            None => format!(
                "redis://{user}:{}@{}:{}",
                secrets.password(Account::Redis(user)),
                self.host,
                self.port
            ),
        }
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> anyhow::Result<()> {
        let exchange = async {
            let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0_u8; 64];
            let length = stream.read(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer[..length]).trim().to_owned();
            // Without a password it answers so too, and that is an answer.
            ensure!(
                answer == "+PONG" || answer.starts_with("-NOAUTH"),
                "Redis answered {answer:?}"
            );
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(2), exchange)
            .await
            .context("Redis did not answer in 2 s")?
    }
}

impl Native {
    /// Writes the configuration, which holds passwords.
    pub(crate) fn prepare(
        &self,
        port: u16,
        architecture: &Architecture,
        secrets: &Secrets,
    ) -> anyhow::Result<()> {
        crate::files::make_dir(&self.home)?;
        let text = configuration(port, architecture, secrets);
        crate::files::write_private(&self.configuration(), text.as_bytes())
    }

    pub(crate) fn server(&self) -> Command {
        let mut server = Command::new(&self.program);
        server
            .arg(self.configuration())
            .env_clear()
            .current_dir(&self.home);
        server
    }

    fn configuration(&self) -> PathBuf {
        self.home.join("redis.conf")
    }
}

pub(crate) fn configuration(port: u16, architecture: &Architecture, secrets: &Secrets) -> String {
    let mut text = format!(
        "bind 127.0.0.1\nport {port}\n\
         # Nothing is kept: a restored snapshot would bring old values back without their floors.\n\
         save \"\"\nappendonly no\n\
         maxmemory 256mb\nmaxmemory-policy allkeys-lru\n\
         user default off\n"
    );
    let admin = secrets.password(Account::Redis(ADMIN));
    let _ = writeln!(text, "user {ADMIN} on >{admin} ~* &* +@all");
    for (user, keys) in architecture.redis_users() {
        let password = secrets.password(Account::Redis(user));
        let _ = writeln!(text, "user {user} on >{password} ~{keys} resetchannels {RIGHTS}");
    }
    text
}

/// The version of a server's program: `Redis server v=7.0.15 sha=…`.
fn version(program: &Path) -> Option<Vec<u32>> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<Vec<u32>> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    version.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let bundled =
            parse_version("Redis server v=6.2.11 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64").unwrap();
        assert!(parse_version("Redis server v=7.0.15 sha=0").unwrap() > bundled);
        assert!(parse_version("Valkey server v=8.1.3 sha=0").unwrap() > bundled);
        assert!(parse_version("Redis server v=6.0.16 sha=0").unwrap() < bundled);
    }

    #[test]
    fn an_external_url_gives_the_address() {
        let external = |url| Redis::external(url, Accounts::Given).unwrap();
        let redis = external("redis://u:p@cache.internal:7000/0");
        assert_eq!((redis.host.as_str(), redis.port), ("cache.internal", 7000));
        assert_eq!(external("redis://localhost").port, 6379);
    }
}
