//! The reading processes, seen from their parent.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::reader::Assignment;
use super::tally::Tally;

/// To start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name by which the lab runs itself as a reader.
pub(super) const READER: &str = "stampede-reader";

/// Processes that read until they are stopped. Those that are left are killed when it is dropped.
pub(super) struct Crowd {
    program: PathBuf,
    assignment: Assignment,
    members: Vec<Member>,
    /// What those said who were killed.
    killed: Tally,
}

struct Member {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Tally>>,
    listening: JoinHandle<anyhow::Result<()>>,
}

impl Crowd {
    /// Starts so many processes of `program`, which is the lab itself, and lets them go together.
    pub(super) async fn start(
        program: PathBuf,
        assignment: Assignment,
        processes: usize,
    ) -> anyhow::Result<Crowd> {
        let mut crowd = Crowd {
            program,
            assignment,
            members: Vec::new(),
            killed: Tally::default(),
        };
        for process in 0..processes {
            let member = crowd.member(process).await?;
            crowd.members.push(member);
        }
        for member in &mut crowd.members {
            member.tell("go").await?;
        }
        Ok(crowd)
    }

    async fn member(&self, process: usize) -> anyhow::Result<Member> {
        let assignment = Assignment {
            process,
            ..self.assignment.clone()
        };
        let mut child = Command::new(&self.program)
            .arg(READER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("a reader has no input")?;
        let stdout = child.stdout.take().context("a reader has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        stdin
            .write_all(format!("{}\n", serde_json::to_string(&assignment)?).as_bytes())
            .await?;
        let ready = timeout(PATIENCE, lines.next_line()).await;
        let ready = ready.context("a reader does not get ready")??;
        ensure!(ready.as_deref() == Some("ready"), "a reader failed at its start");
        let said = Arc::new(Mutex::new(Tally::default()));
        Ok(Member {
            child,
            stdin,
            said: said.clone(),
            listening: tokio::spawn(listen(lines, said)),
        })
    }

    /// Lets all count from now on.
    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.tell("begin").await?;
        }
        Ok(())
    }

    /// SIGKILL; the process is gone when this returns.
    pub(super) async fn kill(&mut self, process: usize) -> anyhow::Result<()> {
        Ok(self.members[process].child.kill().await?)
    }

    /// Starts another in the place of one that was killed.
    pub(super) async fn replace(&mut self, process: usize) -> anyhow::Result<()> {
        let mut member = self.member(process).await?;
        member.tell("go").await?;
        let dead = std::mem::replace(&mut self.members[process], member);
        // Its last line may be cut short.
        let _ = dead.listening.await.context("listening panicked")?;
        self.killed.add(take(&dead.said));
        Ok(())
    }

    /// Lets all end what they are doing, and returns what they saw together.
    pub(super) async fn stop(self) -> anyhow::Result<Tally> {
        let mut all = self.killed;
        let mut ending = Vec::new();
        for member in self.members {
            drop(member.stdin);
            ending.push((member.child, member.listening, member.said));
        }
        for (mut child, listening, said) in ending {
            let ended = timeout(PATIENCE, child.wait()).await;
            let ended = ended.context("a reader does not end")??;
            listening.await.context("listening panicked")??;
            ensure!(ended.success(), "a reader failed: {ended}");
            all.add(take(&said));
        }
        Ok(all)
    }
}

impl Member {
    async fn tell(&mut self, what: &str) -> anyhow::Result<()> {
        Ok(self.stdin.write_all(format!("{what}\n").as_bytes()).await?)
    }
}

/// Each line replaces the one before.
async fn listen(mut lines: Lines<BufReader<ChildStdout>>, said: Arc<Mutex<Tally>>) -> anyhow::Result<()> {
    while let Some(line) = lines.next_line().await? {
        let tally = serde_json::from_str(&line).context("not a tally")?;
        *said.lock().expect("nothing panics while it holds the tally") = tally;
    }
    Ok(())
}

fn take(said: &Mutex<Tally>) -> Tally {
    std::mem::take(&mut said.lock().expect("nothing panics while it holds the tally"))
}
