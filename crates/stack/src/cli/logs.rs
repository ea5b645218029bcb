//! `cargo stack logs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::project::Project;

/// How much of each file is printed when nobody named one.
const TAIL: usize = 40;

pub(crate) async fn run(name: Option<&str>, follow: bool) -> anyhow::Result<ExitCode> {
    let logs = Project::find()?.state().logs();
    let mut read: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let files = files(&logs, name)?;
    ensure!(
        !files.is_empty(),
        "there is no log of {} in {}",
        name.unwrap_or("anything"),
        logs.display()
    );
    let several = files.len() > 1;
    for file in files {
        let (text, end) = from(&file, 0)?;
        let lines: Vec<&str> = text.lines().collect();
        let skipped = if several {
            lines.len().saturating_sub(TAIL)
        } else {
            0
        };
        print(&file, &lines[skipped..], several)?;
        read.insert(file, end);
    }
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Replicas that were added meanwhile have new files.
        for file in self::files(&logs, name)? {
            let start = read.get(&file).copied().unwrap_or(0);
            let (text, end) = from(&file, start)?;
            print(&file, &text.lines().collect::<Vec<_>>(), several)?;
            read.insert(file, end);
        }
    }
}

/// The log files of a process, of one replica or of a server; of everything without a name.
fn files(logs: &Path, name: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
    if !logs.exists() {
        return Ok(Vec::new());
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(logs).with_context(|| format!("cannot list {}", logs.display()))? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let wanted = name.is_none_or(|name| stem == name || is_part(stem, name));
        if wanted && path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `gateway-2` and `gateway-migrate` are parts of `gateway`.
fn is_part(stem: &str, name: &str) -> bool {
    let rest = stem.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| rest == "migrate" || rest.parse::<u16>().is_ok())
}

/// The whole lines from an offset on, and the offset after them. A file that became shorter is read anew.
fn from(path: &Path, start: u64) -> anyhow::Result<(String, u64)> {
    let attempt = || -> std::io::Result<(String, u64)> {
        let mut file = File::open(path)?;
        let start = if file.metadata()?.len() < start { 0 } else { start };
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        bytes.truncate(
            bytes
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |last| last + 1),
        );
        Ok((
            String::from_utf8_lossy(&bytes).into_owned(),
            start + bytes.len() as u64,
        ))
    };
    attempt().with_context(|| format!("cannot read {}", path.display()))
}

fn print(path: &Path, lines: &[&str], with_name: bool) -> anyhow::Result<()> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let mut out = std::io::stdout().lock();
    for line in lines {
        let written = if with_name {
            writeln!(out, "{stem:<22} {line}")
        } else {
            writeln!(out, "{line}")
        };
        match written {
            // `cargo stack logs | head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other?,
        }
    }
    Ok(())
}
