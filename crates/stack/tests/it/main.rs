//! The native servers, for real: each test has a stack of its own on free ports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod compose;
mod external;
mod mail;
mod restart;

use std::os::unix::fs::PermissionsExt as _;

use stack::{Options, Stack, find_root, target_dir};
use tokio::sync::{Mutex, MutexGuard};

/// Three brokers that start at once on two cores would all be late.
static TURN: Mutex<()> = Mutex::const_new(());

/// A stack's servers in a folder of their own. When a test panics, they die and the folder goes with it.
struct Servers {
    stack: Stack,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Servers {
    async fn start() -> Servers {
        let turn = TURN.lock().await;
        let root = find_root().unwrap();
        let dir = folder(&target_dir(&root));
        let mut options = Options::new(root, dir.path());
        options.fsync = false;
        let stack = Stack::servers(options).await.unwrap();
        Servers {
            stack,
            _dir: dir,
            _turn: turn,
        }
    }

    async fn end(self) {
        let killed = self.stack.down().await;
        assert!(killed.is_empty(), "had to be killed: {killed:?}");
    }
}

/// PostgreSQL may have to reach it as `nobody`.
fn folder(parent: &std::path::Path) -> tempfile::TempDir {
    let passable = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new()
        .prefix("stack-it-")
        .permissions(passable)
        .tempdir_in(parent)
        .unwrap()
}
