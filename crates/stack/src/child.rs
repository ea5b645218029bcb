//! Child processes: each in its own process group, with its output in a file, and ended when its parent ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How often a child's end is looked for. It is one system call.
const POLL: Duration = Duration::from_millis(10);

/// Starts children from a thread of its own. On Linux a child asks to be killed when the *thread* that
/// started it ends, so it must not be started by one that a runtime may retire; this one lives as long as the
/// stack.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: Command,
    answer: mpsc::Sender<io::Result<std::process::Child>>,
}

impl Spawner {
    pub(crate) fn new() -> Spawner {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for Request { mut command, answer } in inbox {
                // Nobody waiting for the answer means that the child is not wanted either, and dropping it
                // would leave it running.
                if let Err(mpsc::SendError(Ok(mut unwanted))) = answer.send(command.spawn()) {
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        });
        Spawner { requests }
    }

    /// Starts `command` with its output appended to `log`. `what` names it in messages.
    pub(crate) fn spawn(&self, what: &str, mut command: Command, log: &Path) -> anyhow::Result<Child> {
        let output = open_log(log)?;
        let errors = output.try_clone()?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // Ctrl-C in a terminal reaches the whole foreground group; the children must end in order instead.
        command.process_group(0);
        die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let (answer, answered) = mpsc::channel();
        let gone = || anyhow!("the thread that starts processes is gone");
        self.requests
            .send(Request { command, answer })
            .map_err(|_| gone())?;
        let process = answered.recv().map_err(|_| gone())?;
        let process = process.with_context(|| format!("cannot start {what} ({program})"))?;
        Ok(Child {
            what: what.to_owned(),
            process,
            log: log.to_owned(),
        })
    }

    /// Runs `command` to its end. An exit code other than 0 is an error that ends with the last line of its
    /// output.
    pub(crate) async fn run(
        &self,
        what: &str,
        command: Command,
        log: &Path,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let mut child = self.spawn(what, command, log)?;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match child.exited()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(child.obituary(status)),
                None => tokio::time::sleep(POLL).await,
            }
        }
        bail!(
            "{what} did not end within {} s; its log is {}",
            limit.as_secs(),
            log.display()
        )
    }
}

/// A running child; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    what: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, when it has ended.
    pub(crate) fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.what))
    }

    /// Says in one line that and how it ended, and why, when it ended by itself and said so.
    pub(crate) fn obituary(&self, status: ExitStatus) -> anyhow::Error {
        let (what, log) = (&self.what, self.log.display());
        match status.code() {
            Some(_) => anyhow!(
                "{what} ended ({status}): {}; its log is {log}",
                last_words(&self.log)
            ),
            None => anyhow!("{what} ended ({status}); its log is {log}"),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.what))
    }

    /// SIGKILL, and the entry in the process table is removed.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends `signal` and waits for the end; kills it after `limit`, and says so.
    pub(crate) async fn stop(mut self, signal: Signal, limit: Duration) -> Ended {
        // A stopped process would never handle the signal.
        let _ = self.signal(signal);
        let _ = self.signal(Signal::CONT);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match self.exited() {
                Ok(None) => tokio::time::sleep(POLL).await,
                Ok(Some(_)) | Err(_) => return Ended::ByItself,
            }
        }
        self.kill();
        Ended::Killed
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a child ended after it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In time.
    ByItself,
    /// It had to be killed.
    Killed,
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the death signal can be asked for only by the child, between fork and exec"
)]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs in the forked child and makes two system calls; it neither allocates nor takes
    // a lock.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have ended before the line above.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        });
    }
}

/// Other systems have no such signal: there, children outlive a parent that was killed with SIGKILL.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

fn open_log(path: &Path) -> anyhow::Result<File> {
    if let Some(parent) = path.parent() {
        crate::files::make_dir(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// The line of a log that says most about the end: the last one with an error among the last few, otherwise
/// the last one.
fn last_words(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(30)
        .collect();
    let find = |words: &[&str]| {
        lines
            .iter()
            .find(|line| words.iter().any(|word| line.contains(word)))
    };
    let telling = find(&["No space left", "in use"])
        .or_else(|| find(&["ERROR", "FATAL", "PANIC", "rror:"]))
        .or(lines.first());
    telling.map_or_else(|| "it wrote nothing".to_owned(), |line| plain(line))
}

/// A JSON log line without what only machines want.
fn plain(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    match (text("message"), text("error")) {
        (Some(message), Some(error)) => format!("{message}: {error}"),
        (Some(message), None) => message.to_owned(),
        (None, _) => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failed_command_is_reported_with_its_telling_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let command = shell("echo starting; echo 'FATAL: no space left on device'; echo bye; exit 3");
        let error = Spawner::new()
            .run("kafka", command, &log, Duration::from_secs(10))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("kafka ended (exit status: 3): FATAL: no space left on device"),
            "{error}"
        );
    }

    #[test]
    fn of_a_json_line_only_what_people_read_is_shown() {
        let check = |line, expected| assert_eq!(plain(line), expected);
        check(
            r#"{"level":"ERROR","message":"cannot start","error":"no database","x":1}"#,
            "cannot start: no database",
        );
        check(r#"{"level":"INFO","message":"bye"}"#, "bye");
        check("FATAL: no space left on device", "FATAL: no space left on device");
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_signal_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let deaf = shell("trap '' TERM; echo ready; while :; do sleep 1; done");
        let spawner = Spawner::new();
        let child = spawner.spawn("deaf", deaf, &log).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&log).unwrap().contains("ready") {
            assert!(Instant::now() < deadline, "the child says nothing");
            tokio::time::sleep(POLL).await;
        }
        assert_eq!(
            child.stop(Signal::TERM, Duration::from_millis(100)).await,
            Ended::Killed
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn children_end_when_the_spawner_does() {
        let dir = tempfile::tempdir().unwrap();
        let spawner = Spawner::new();
        let mut child = spawner
            .spawn("sleeper", shell("exec sleep 600"), &dir.path().join("x.log"))
            .unwrap();
        drop(spawner);
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.exited().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the child lives on");
            std::thread::sleep(POLL);
        }
    }
}
