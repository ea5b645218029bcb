//! What the supervisor tells the other verbs, through files in the state folder.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stack::Status;

/// The state folder of `up`.
pub(crate) struct State {
    dir: PathBuf,
}

/// What the supervisor says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) pid: u32,
    pub(crate) phase: Phase,
    /// What happens right now, while starting and stopping.
    pub(crate) step: String,
    pub(crate) status: Status,
    /// What became of the last wish.
    pub(crate) answer: Option<Answer>,
    /// Whether the servers are in containers.
    #[serde(default)]
    pub(crate) containers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopping,
    Failed(String),
}

/// Replicas that `up --replicas` wants of a running system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) id: String,
    pub(crate) replicas: BTreeMap<String, u16>,
}

/// The supervisor's answer to a wish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) error: Option<String>,
}

impl State {
    pub(crate) fn new(dir: PathBuf) -> State {
        State { dir }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lock that a supervisor holds as long as it lives; `None` when another one holds it. The kernel
    /// releases it however the holder ends, so that no stale process id is ever believed.
    pub(crate) async fn lock(&self) -> anyhow::Result<Option<File>> {
        let file = self.lock_file()?;
        // A verb that only looks holds it for an instant.
        for _ in 0..10 {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("cannot lock the state folder");
                }
            }
        }
        Ok(None)
    }

    /// Whether a supervisor lives.
    pub(crate) fn is_held(&self) -> anyhow::Result<bool> {
        if !self.dir.exists() {
            return Ok(false);
        }
        match self.lock_file()?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the state folder"),
        }
    }

    fn lock_file(&self) -> anyhow::Result<File> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let path = self.dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        file.with_context(|| format!("cannot open {}", path.display()))
    }

    /// What the running supervisor reports; `None` when none runs.
    pub(crate) fn running(&self) -> anyhow::Result<Option<Report>> {
        if !self.is_held()? {
            return Ok(None);
        }
        let report = self.report()?;
        Ok(Some(report.context(
            "a supervisor is just starting; try again in a moment",
        )?))
    }

    /// The last report, also of a supervisor that has ended.
    pub(crate) fn report(&self) -> anyhow::Result<Option<Report>> {
        read(&self.dir.join("state.json"))
    }

    pub(crate) fn write_report(&self, report: &Report) -> anyhow::Result<()> {
        write(&self.dir.join("state.json"), report)
    }

    pub(crate) fn remove_report(&self) {
        let _ = std::fs::remove_file(self.dir.join("state.json"));
    }

    pub(crate) fn wish(&self) -> anyhow::Result<Option<Wish>> {
        read(&self.dir.join("wish.json"))
    }

    pub(crate) fn write_wish(&self, wish: &Wish) -> anyhow::Result<()> {
        write(&self.dir.join("wish.json"), wish)
    }
}

impl Report {
    /// Sends a signal to the supervisor, which holds the lock.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("the state folder names no process")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal the supervisor ({})", self.pid))
    }

    /// The base URL of a process's first replica.
    pub(crate) fn public_url(&self, name: &str) -> anyhow::Result<String> {
        let processes = &self.status.processes;
        let public = processes
            .iter()
            .find(|process| process.name == name && process.replica == 1);
        public
            .and_then(|process| process.http.clone())
            .with_context(|| format!("{name} does not run"))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes);
            Ok(Some(value.with_context(|| {
                format!("{} is damaged; `cargo stack reset` starts anew", path.display())
            })?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Readers see the old content or the new.
fn write(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    let written = std::fs::write(&partial, serde_json::to_vec_pretty(value)?)
        .and_then(|()| std::fs::rename(&partial, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
