//! What a stack is made of and where it lives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::ports::Ports;
use crate::secrets::Passwords;

/// What a stack is made of and where it lives.
#[derive(Clone, Debug)]
pub struct Options {
    /// The workspace.
    pub root: PathBuf,
    /// State, data and logs. Two stacks must not share it.
    pub dir: PathBuf,
    /// Cargo's target folder; the servers' files are kept below it.
    pub target: PathBuf,
    /// Where the five processes' binaries are, and `stack` itself: `target/debug` or `target/release`.
    pub binaries: PathBuf,
    /// How ports are chosen.
    pub ports: Ports,
    /// Replicas by process; 1 for those that are not named.
    pub replicas: BTreeMap<String, u16>,
    /// Added to every process's environment, last.
    pub env: Vec<(String, String)>,
    /// How the servers' passwords are made.
    pub passwords: Passwords,
    /// Whether PostgreSQL survives a power cut. Off, it is faster, and still survives a kill.
    pub fsync: bool,
    /// Whether to run the mail sink.
    pub mail_sink: bool,
    /// Servers that somebody else runs.
    pub external: External,
}

/// Servers that somebody else runs; each that is `None` is run by the stack.
#[derive(Clone, Debug, Default)]
pub struct External {
    /// A superuser's URL.
    pub postgres_url: Option<String>,
    /// The URL that app-service will use.
    pub redis_url: Option<String>,
    /// `host:port`.
    pub kafka_bootstrap: Option<String>,
    /// A SASL/PLAIN user and password for everyone.
    pub kafka_login: Option<(String, String)>,
    /// `smtp://host:port`, instead of the mail sink.
    pub smtp_url: Option<String>,
    /// The base URL of the mail server's API, where it has Mailpit's.
    pub mail_url: Option<String>,
    /// Whose users the servers have.
    pub accounts: Accounts,
}

/// The users of servers that somebody else runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accounts {
    /// Their owner's business: every process uses the address and the login that were given.
    #[default]
    Given,
    /// Those of the architecture, as natively.
    Architecture,
}

impl External {
    /// From `PLUMBLINE_POSTGRES_URL`, `PLUMBLINE_REDIS_URL`, `PLUMBLINE_KAFKA_BOOTSTRAP`,
    /// `PLUMBLINE_KAFKA_USER`, `PLUMBLINE_KAFKA_PASSWORD` and `PLUMBLINE_SMTP_URL`.
    pub fn from_environment() -> External {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        External {
            postgres_url: variable("PLUMBLINE_POSTGRES_URL"),
            redis_url: variable("PLUMBLINE_REDIS_URL"),
            kafka_bootstrap: variable("PLUMBLINE_KAFKA_BOOTSTRAP"),
            kafka_login: variable("PLUMBLINE_KAFKA_USER").zip(variable("PLUMBLINE_KAFKA_PASSWORD")),
            smtp_url: variable("PLUMBLINE_SMTP_URL"),
            mail_url: None,
            accounts: Accounts::Given,
        }
    }

    /// Whether somebody else runs none of PostgreSQL, Redis and Kafka.
    pub fn is_empty(&self) -> bool {
        self.postgres_url.is_none() && self.redis_url.is_none() && self.kafka_bootstrap.is_none()
    }

    /// Whether the stack has to run at least one of PostgreSQL, Redis and Kafka.
    pub fn is_incomplete(&self) -> bool {
        self.postgres_url.is_none() || self.redis_url.is_none() || self.kafka_bootstrap.is_none()
    }
}

impl Options {
    /// A stack of its own on free ports, with everything below `dir`, from debug binaries.
    pub fn new(root: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Options {
        let root = root.into();
        let target = target_dir(&root);
        Options {
            binaries: target.join("debug"),
            target,
            root,
            dir: dir.into(),
            ports: Ports::Free,
            replicas: BTreeMap::new(),
            env: Vec::new(),
            passwords: Passwords::Random,
            fsync: true,
            mail_sink: true,
            external: External::default(),
        }
    }

    /// The replicas that are wanted of a process.
    pub fn replicas_of(&self, process: &str) -> u16 {
        self.replicas.get(process).copied().unwrap_or(1)
    }

    pub(crate) fn runs_mail_sink(&self) -> bool {
        self.mail_sink && self.external.smtp_url.is_none()
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// This program, which is the mail sink and the supervisor, too. Not the running file, which a build may
    /// have replaced by now; and a release build of the processes need not have one.
    pub fn stack_binary(&self) -> PathBuf {
        let beside = self.binaries.join("stack");
        if beside.exists() {
            beside
        } else {
            self.target.join("debug/stack")
        }
    }
}

/// The workspace's root: the folder at or above the current one that holds `architecture.toml`.
pub fn find_root() -> anyhow::Result<PathBuf> {
    let current = std::env::current_dir().context("there is no current folder")?;
    let root = current
        .ancestors()
        .find(|dir| dir.join("architecture.toml").exists());
    Ok(root
        .context("no architecture.toml here or above: run this inside the project")?
        .to_owned())
}

/// Cargo's target folder.
pub fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
