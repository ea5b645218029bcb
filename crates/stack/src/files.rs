//! Files that are written whole or not at all.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Replaces a file by one that only its owner may read. A reader sees the old content or the new, never a part.
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
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}
