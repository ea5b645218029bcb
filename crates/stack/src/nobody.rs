//! PostgreSQL refuses to run as root. Started by root, as in a container, it runs as `nobody`, with its files
//! where `nobody` can reach them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The user and group that the server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// PostgreSQL refuses to run as root, so it runs as the user that owns nothing.
pub(crate) fn nobody() -> anyhow::Result<RunAs> {
    let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("nobody:"));
    let mut fields = line
        .context("PostgreSQL cannot run as root, and this system has no user nobody")?
        .split(':')
        .skip(2);
    // Some systems write the user's number as -2.
    let mut number = || -> Option<u32> { Some(fields.next()?.parse::<i64>().ok()? as u32) };
    let account = number().zip(number()).map(|(uid, gid)| RunAs { uid, gid });
    account.context("/etc/passwd has no numbers for nobody")
}

/// Deletes a stack's folder with its data, wherever PostgreSQL's part of it had to be.
pub fn delete(dir: &Path) -> anyhow::Result<()> {
    let elsewhere = rustix::process::geteuid()
        .is_root()
        .then(|| reachable(&dir.join("postgres")));
    for path in std::iter::once(dir.to_owned()).chain(elsewhere) {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path itself when every folder above it lets everyone pass, otherwise one in `/var/tmp` that is made
/// from its name.
pub(crate) fn reachable(path: &Path) -> PathBuf {
    let passable = |dir: &Path| {
        !dir.exists()
            || dir
                .metadata()
                .is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
    };
    if path.ancestors().skip(1).all(passable) {
        return path.to_owned();
    }
    let name = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "-");
    Path::new("/var/tmp").join(format!("plumbline{name}"))
}

/// PostgreSQL's files where `nobody` can read them.
pub(crate) fn reachable_copy(installation: &Path) -> anyhow::Result<PathBuf> {
    let copy = reachable(installation);
    if copy == installation {
        return Ok(copy);
    }
    if !copy.exists() {
        let partial = copy.with_added_extension(std::process::id().to_string());
        copy_tree(installation, &partial)?;
        // A second stack may have been faster; its copy is as good.
        if std::fs::rename(&partial, &copy).is_err() {
            std::fs::remove_dir_all(&partial).context("cannot remove a copy of PostgreSQL")?;
        }
    }
    // Everyone may write to /var/tmp, so the copy has to be ours.
    let owner = copy
        .symlink_metadata()
        .with_context(|| format!("cannot look at {}", copy.display()))?
        .uid();
    ensure!(
        owner == rustix::process::geteuid().as_raw(),
        "{} belongs to somebody else",
        copy.display()
    );
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    crate::files::make_dir(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&source)?, &target)?;
        } else {
            std::fs::copy(&source, &target).with_context(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_nobody_cannot_reach_is_replaced() {
        let private = tempfile::tempdir().unwrap();
        let inside = private.path().join("target/stack/postgres");
        std::fs::set_permissions(private.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(reachable(&inside).starts_with("/var/tmp"));
        std::fs::set_permissions(private.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(reachable(&inside), inside);
    }
}
