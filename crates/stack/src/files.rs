//! Files and the disk that they are on.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// Less than this, and Kafka or PostgreSQL would soon fail with a less helpful message. In bytes.
const DISK: u64 = 300 << 20;

/// Replaces a file by one that only its owner may read. A reader sees the old content or the new, never a
/// part.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let attempt = || -> std::io::Result<()> {
        let partial = path.with_added_extension("partial");
        let _ = std::fs::remove_file(&partial);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content)?;
        std::fs::rename(&partial, path)
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder and its parents.
pub(crate) fn make_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Fails when the disk is nearly full.
pub(crate) fn check_disk(dir: &Path) -> anyhow::Result<()> {
    let disk =
        rustix::fs::statvfs(dir).with_context(|| format!("cannot look at the disk of {}", dir.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= DISK,
        "the disk of {} has {} MB left, and {} are needed",
        dir.display(),
        free >> 20,
        DISK >> 20
    );
    Ok(())
}

/// Each start writes new logs; the last ones stay beside them.
pub(crate) fn set_old_logs_aside(logs: &Path) -> anyhow::Result<()> {
    make_dir(logs)?;
    for entry in std::fs::read_dir(logs).with_context(|| format!("cannot list {}", logs.display()))? {
        let path = entry?.path();
        // The supervisor is writing to its own.
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && path.file_stem().is_none_or(|stem| stem != "supervisor") {
            std::fs::rename(&path, path.with_extension("previous")).context("cannot set a log aside")?;
        }
    }
    Ok(())
}
