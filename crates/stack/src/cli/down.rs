//! `cargo stack down` and `reset`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::Signal;
use stack::Compose;

use super::project::Project;
use super::state::{Report, State};

/// Longer than every process's and every server's own limit together.
const PATIENCE: Duration = Duration::from_secs(75);

pub(crate) async fn down() -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    match project.state().running()? {
        Some(report) => {
            end(&project.state(), &report).await?;
            eprintln!("stopped; the data is kept in {}", project.dir().display());
        }
        None => eprintln!("nothing is running"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn reset() -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    let state = project.state();
    if let Some(report) = state.running()? {
        end(&state, &report).await?;
    }
    if state.dir().exists() {
        let lock = state.lock().await?;
        ensure!(lock.is_some(), "somebody is starting the system right now");
        stack::delete(state.dir())?;
    }
    if let Some(compose) = Compose::find(&project.root).await {
        compose.delete().await?;
    }
    eprintln!("deleted {}", project.dir().display());
    Ok(ExitCode::SUCCESS)
}

/// Asks the supervisor to end everything and waits until it has.
async fn end(state: &State, report: &Report) -> anyhow::Result<()> {
    eprintln!("stopping");
    report.signal(Signal::TERM)?;
    let deadline = Instant::now() + PATIENCE;
    while state.is_held()? {
        if Instant::now() > deadline {
            // Its children die with it.
            report.signal(Signal::KILL)?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            ensure!(
                !state.is_held()?,
                "the supervisor ({}) cannot be ended",
                report.pid
            );
            state.remove_report();
            eprintln!("it did not end in time and was killed");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
