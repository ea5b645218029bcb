//! What each process needs when nobody asks anything of it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use stack::Stack;

use crate::table::{Table, number};

/// The most that an idle process may have resident, in bytes.
const MOST_RESIDENT: u64 = 25_000_000;

/// How long the stack is left alone.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Seconds of rest before the measurement
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub rest: u64,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub process: String,
    /// `VmRSS`, `RssAnon` and `RssFile` of `/proc/<pid>/status`, in bytes.
    pub resident: u64,
    pub anonymous: u64,
    pub file: u64,
    pub threads: u64,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub rest_seconds: u64,
    pub lines: Vec<Line>,
}

/// Measures on a stack whose processes are all up.
pub async fn run(stack: &Stack, plan: Plan) -> anyhow::Result<Report> {
    tokio::time::sleep(Duration::from_secs(plan.rest)).await;
    let status = stack.status().await?;
    let lines = status.processes.iter().map(|process| {
        let pid = process
            .pid
            .with_context(|| format!("{} is not running", process.name))?;
        ensure!(process.ready, "{} is not ready", process.name);
        let path = format!("/proc/{pid}/status");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| field(&text, name).with_context(|| format!("{path} has no {name}"));
        Ok(Line {
            process: process.name.clone(),
            resident: field("VmRSS:")? * 1024,
            anonymous: field("RssAnon:")? * 1024,
            file: field("RssFile:")? * 1024,
            threads: field("Threads:")?,
        })
    });
    Ok(Report {
        rest_seconds: plan.rest,
        lines: lines.collect::<anyhow::Result<_>>()?,
    })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Report {
    /// What does not hold, in words.
    pub fn failures(&self) -> Vec<String> {
        let over = self.lines.iter().filter(|line| line.resident > MOST_RESIDENT);
        over.map(|line| {
            format!(
                "{} has {} bytes resident, more than {}",
                line.process,
                number(line.resident.cast_signed()),
                number(MOST_RESIDENT.cast_signed())
            )
        })
        .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "after {} s of rest, in MB (1,000,000 bytes)\n",
            self.rest_seconds
        )?;
        let mut table = Table::new(["process", "resident", "anonymous", "of files", "threads"]);
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        for line in &self.lines {
            table.row([
                line.process.clone(),
                megabytes(line.resident),
                megabytes(line.anonymous),
                megabytes(line.file),
                line.threads.to_string(),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        match self.failures().as_slice() {
            [] => writeln!(f, "passed: each is within {:.0} MB", MOST_RESIDENT as f64 / 1e6),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
