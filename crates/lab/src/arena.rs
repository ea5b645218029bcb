//! A stack of the lab's own: on free ports, below `target/lab`, from binaries that exist.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use stack::{Architecture, Options, Stack};

/// A running stack in a folder of its own.
pub struct Arena {
    pub stack: Stack,
    pub folder: Folder,
}

/// A folder below `target/lab`. It is locked while in use, so that the next run knows which ones were left behind.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Arena {
    /// Starts servers and processes with `options` that are the folder's, and waits until all of them are ready.
    pub async fn up(folder: Folder, options: Options) -> anyhow::Result<Arena> {
        check_binaries(&options.root, &options.binaries)?;
        let dir = folder.path.display();
        let stack = Stack::up(options)
            .await
            .with_context(|| format!("cannot start a stack in {dir}"))?;
        Ok(Arena { stack, folder })
    }

    /// Starts servers with their tables, and no process.
    pub async fn servers(folder: Folder, options: Options) -> anyhow::Result<Arena> {
        check_binaries(&options.root, &options.binaries)?;
        let dir = folder.path.display();
        let starting = async {
            let mut stack = Stack::servers(options).await?;
            stack.migrate().await?;
            anyhow::Ok(stack)
        };
        let stack = starting
            .await
            .with_context(|| format!("cannot start the servers in {dir}"))?;
        Ok(Arena { stack, folder })
    }

    /// Ends everything and removes the data.
    pub async fn down(self) {
        self.stack.down().await;
        self.folder.delete();
    }

    /// Ends everything; data and logs stay until the next run. Returns where.
    pub async fn down_and_keep(self) -> PathBuf {
        self.stack.down().await;
        self.folder.path
    }
}

impl Folder {
    /// Makes a folder for one run, and deletes those of runs that have ended.
    pub fn make(name: &str) -> anyhow::Result<Folder> {
        let root = stack::find_root()?;
        let parent = stack::target_dir(&root).join("lab");
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let folders =
            std::fs::read_dir(&parent).with_context(|| format!("cannot list {}", parent.display()))?;
        for left in folders.filter_map(Result::ok) {
            let path = left.path();
            if File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
                // Best effort: what is left lies below `target`.
                let _ = stack::delete(&path);
            }
        }
        let path = parent.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::create(path.join("lock"))?;
        lock.try_lock()
            .with_context(|| format!("{} is in use", path.display()))?;
        Ok(Folder { path, _lock: lock })
    }

    /// A stack in this folder, of the programs in `binaries`.
    pub fn options(&self, binaries: &Path) -> anyhow::Result<Options> {
        let mut options = Options::new(stack::find_root()?, &self.path);
        options.binaries = binaries.to_owned();
        Ok(options)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes it with the data in it.
    pub fn delete(self) {
        let _ = stack::delete(&self.path);
    }
}

/// Names what is missing before any server is started.
fn check_binaries(root: &Path, binaries: &Path) -> anyhow::Result<()> {
    let missing: Vec<String> = programs(root)?
        .into_iter()
        .filter(|name| !binaries.join(name).exists())
        .collect();
    let folder = binaries.display();
    ensure!(
        missing.is_empty(),
        "not built in {folder}: {}; run `cargo build --workspace --bins`",
        missing.join(", ")
    );
    Ok(())
}

/// What a stack runs: the processes, and the mail sink, which is `stack` itself.
pub fn programs(root: &Path) -> anyhow::Result<Vec<String>> {
    let architecture = Architecture::read(root)?;
    Ok(architecture
        .processes
        .into_keys()
        .chain(["stack".to_owned()])
        .collect())
}
