//! What has to be there before anything starts: the servers' files and the binaries, brought and built side
//! by side.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use stack::Artifacts;

use super::project::Project;
use super::stop::Stop;

/// Runs `cargo build` with `arguments` while Maven brings the servers; the output of both is shown.
pub(crate) async fn build(project: &Project, arguments: &[&str]) -> anyhow::Result<()> {
    let fetching = project.external.is_incomplete().then(|| {
        let (root, target) = (project.root.clone(), project.target.clone());
        std::thread::spawn(move || {
            Artifacts::fetch(&root, &target, |line| eprintln!("servers: {line}")).map(drop)
        })
    });
    if !arguments.is_empty() {
        let status = run(cargo(&project.root).arg("build").args(arguments)).await?;
        ensure!(status.success(), "cargo build failed");
    }
    while fetching.as_ref().is_some_and(|fetching| !fetching.is_finished()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match fetching {
        Some(fetching) => fetching
            .join()
            .map_err(|_| anyhow!("bringing the servers failed"))?,
        None => Ok(()),
    }
}

/// `cargo` in the workspace, with the environment that the user gave and not the one that `cargo run` adds
/// for this crate.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_added_by_cargo_run) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn is_added_by_cargo_run(name: &str) -> bool {
    let exact = [
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "OUT_DIR",
    ];
    exact.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Runs a command to its end in a process group of its own, which is ended as a whole when we are told to
/// stop: `cargo test` alone would leave its tests running.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let mut stop = Stop::listen()?;
    let mut child = command.process_group(0).spawn().context("cannot start cargo")?;
    let group = Pid::from_child(&child);
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for cargo")? {
            return Ok(status);
        }
        tokio::select! {
            () = stop.told() => kill_process_group(group, Signal::TERM).context("cannot stop cargo")?,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}
