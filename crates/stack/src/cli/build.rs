//! What has to be there before anything starts: the servers' files and the binaries, brought and built side by side.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use stack::Artifacts;
use tokio::signal::unix::{SignalKind, signal};

use super::project::Project;

/// Runs `cargo build` with `arguments` while Maven brings the servers; the output of both is shown.
pub(crate) async fn build(project: &Project, arguments: &[&str]) -> anyhow::Result<()> {
    let fetching = project.external.is_incomplete().then(|| {
        let (root, target) = (project.root.clone(), project.target.clone());
        std::thread::spawn(move || {
            Artifacts::fetch(&root, &target, |line| eprintln!("servers: {line}")).map(drop)
        })
    });
    if !arguments.is_empty() {
        let building = cargo(&project.root)
            .arg("build")
            .args(arguments)
            .spawn()
            .context("cannot start cargo")?;
        let status = wait(building).await?;
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

/// `cargo` in the workspace, with the environment that the user gave and not the one that `cargo run` adds for this crate.
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

/// Waits for a command in our process group, which a terminal's Ctrl-C reaches by itself; SIGTERM is passed on.
pub(crate) async fn wait(mut child: Child) -> anyhow::Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for cargo")? {
            return Ok(status);
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                let pid = rustix::process::Pid::from_child(&child);
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}
