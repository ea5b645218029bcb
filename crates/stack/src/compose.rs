//! The servers in containers, where Docker Compose answers: `docker-compose.yml` in the workspace's root.
//!
//! Users, rights and topics are made over the wire afterwards, as with every server that somebody else runs;
//! the file and its scripts make the same ones for those who use it alone, and the tests below compare them.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::options::{Accounts, External};

/// How long the engine may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the servers may take; the first time, their images are pulled.
const START: Duration = Duration::from_secs(600);

/// How long the containers may take to stop.
const STOP: Duration = Duration::from_secs(60);

/// What `up` starts: not the file's own set-up of Kafka, which would end while `--wait` waits.
const SERVERS: [&str; 4] = ["postgres", "redis", "kafka", "mailpit"];

/// `docker compose` on the workspace's file.
#[derive(Clone, Debug)]
pub struct Compose {
    docker: PathBuf,
    root: PathBuf,
}

impl Compose {
    /// The file of this workspace; nobody is asked whether an engine answers.
    pub fn of(root: &Path) -> Compose {
        Compose {
            docker: "docker".into(),
            root: root.to_owned(),
        }
    }

    /// `None` without Docker Compose, or when its engine does not answer in five seconds.
    pub async fn find(root: &Path) -> Option<Compose> {
        let compose = Compose::of(root);
        compose.answers(ANSWER).await.then_some(compose)
    }

    /// Where the file publishes the servers, whose users are the architecture's with their names as passwords.
    pub fn addresses() -> External {
        External {
            postgres_url: Some("postgres://postgres:postgres@127.0.0.1:14432/postgres".to_owned()),
            redis_url: Some("redis://127.0.0.1:14379".to_owned()),
            kafka_bootstrap: Some("127.0.0.1:14092".to_owned()),
            kafka_login: Some(("admin".to_owned(), "admin".to_owned())),
            smtp_url: Some("smtp://127.0.0.1:1025".to_owned()),
            mail_url: Some("http://127.0.0.1:8025".to_owned()),
            accounts: Accounts::Architecture,
        }
    }

    /// Starts the servers and waits until they are healthy. `false` when they could not be started: it is said why, and
    /// what did start is stopped, so that native servers find their ports free.
    pub async fn started(&self) -> anyhow::Result<bool> {
        eprintln!("servers: starting PostgreSQL, Valkey, Kafka and Mailpit with Docker Compose");
        let mut up = self.compose();
        up.args(["up", "--detach", "--wait"]).args(SERVERS);
        let Err(error) = succeed("docker compose up", up, START).await else {
            return Ok(true);
        };
        eprintln!("servers: {error:#}; they run as native processes instead");
        self.stop().await?;
        Ok(false)
    }

    /// Removes the containers; their data stays.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let mut down = self.compose();
        down.arg("down");
        succeed("docker compose down", down, STOP).await
    }

    /// Removes the containers and their data.
    pub async fn delete(&self) -> anyhow::Result<()> {
        let mut down = self.compose();
        down.args(["down", "--volumes"]);
        succeed("docker compose down", down, STOP).await
    }

    async fn answers(&self, limit: Duration) -> bool {
        let mut version = Command::new(&self.docker);
        version.args(["compose", "version"]);
        let mut info = Command::new(&self.docker);
        info.arg("info");
        for mut command in [version, info] {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            if !run(command, limit).await.is_ok_and(|status| status.success()) {
                return false;
            }
        }
        true
    }

    fn compose(&self) -> Command {
        let mut compose = Command::new(&self.docker);
        compose.arg("compose").arg("--file");
        compose.arg(self.root.join("docker-compose.yml"));
        compose.stdout(Stdio::null());
        compose
    }
}

async fn succeed(what: &str, command: Command, limit: Duration) -> anyhow::Result<()> {
    let status = run(command, limit)
        .await
        .with_context(|| format!("{what} failed"))?;
    ensure!(status.success(), "{what} failed ({status})");
    Ok(())
}

/// Runs `command` to its end, or kills it when that takes longer than `limit`.
async fn run(mut command: Command, limit: Duration) -> anyhow::Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start docker")?;
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("cannot wait for docker")? {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().context("cannot end docker")?;
    child.wait().context("cannot wait for docker")?;
    bail!("it did not end within {} s", limit.as_secs())
}
