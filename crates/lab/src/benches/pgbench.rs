//! pgbench, which comes with PostgreSQL.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

/// What pgbench measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    pub(crate) per_second: f64,
    pub(crate) failed: u64,
}

/// Runs the scripts, in turn and at random, from `clients` connections for `time`.
pub(crate) async fn pgbench(
    url: &str,
    scripts: &[PathBuf],
    clients: usize,
    time: Duration,
    first_run: u64,
) -> anyhow::Result<Floor> {
    let mut command = Command::new("pgbench");
    command
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={}", time.as_secs().max(1)))
        .arg(format!("--define=n={first_run}"))
        .args(
            scripts
                .iter()
                .map(|script| format!("--file={}", script.display())),
        )
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(time + Duration::from_secs(60), command.output())
        .await
        .context("pgbench does not end")?
        .context("cannot run pgbench; it comes with PostgreSQL's client or contrib package")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let number = |mark: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(mark));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .with_context(|| format!("pgbench did not print {mark:?}: {text}"))
    };
    let floor = Floor {
        per_second: number("tps = ")?,
        failed: number("number of failed transactions: ")? as u64,
    };
    ensure!(floor.per_second > 0.0, "pgbench ran no transaction: {text}");
    Ok(floor)
}
