//! The native servers, for real: each test has a stack of its own on free ports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod external;
mod mail;
mod restart;

use stack::{Options, Stack, find_root};

/// A stack's servers in a folder that is deleted afterwards.
struct Servers {
    stack: Stack,
    dir: tempfile::TempDir,
}

impl Servers {
    async fn start() -> Servers {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(find_root().unwrap(), dir.path());
        options.fsync = false;
        let stack = Stack::servers(options).await.unwrap();
        Servers { stack, dir }
    }

    async fn end(self) {
        let killed = self.stack.down().await;
        assert!(killed.is_empty(), "had to be killed: {killed:?}");
        stack::delete(self.dir.path()).unwrap();
    }
}
