//! A PostgreSQL of a test's own: to crash it, or to be alone with its transaction ids, which a server's databases share.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use stack::{Options, Passwords, Server, Stack};
use tempfile::TempDir;

pub(crate) struct OwnServer {
    /// `None` only while it is being dropped.
    stack: Option<Stack>,
    dir: TempDir,
}

impl OwnServer {
    pub(crate) async fn start() -> OwnServer {
        let dir = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let mut options = Options::new(stack::find_root().unwrap(), dir.path());
        options.passwords = Passwords::Names;
        options.fsync = false;
        options.mail_sink = false;
        // Only PostgreSQL is its own.
        let kafka = testkit::kafka_args();
        options.external.redis_url = Some(std::env::var("PLUMBLINE_TEST_REDIS").unwrap());
        options.external.kafka_bootstrap = Some(kafka.bootstrap_servers);
        options.external.kafka_login = kafka
            .sasl_username
            .zip(kafka.sasl_password.map(|password| password.read().unwrap()));
        let stack = Stack::servers(options).await.unwrap();
        OwnServer {
            stack: Some(stack),
            dir,
        }
    }

    pub(crate) fn superuser_url(&self) -> String {
        self.stack().postgres_superuser_url("postgres")
    }

    /// As `pg_ctl stop -m immediate` or a kill leave it: what was not flushed is gone.
    pub(crate) fn crash(&mut self) {
        self.stack
            .as_mut()
            .unwrap()
            .kill_server(Server::Postgres)
            .unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.stack
            .as_mut()
            .unwrap()
            .start_server(Server::Postgres)
            .await
            .unwrap();
    }

    /// Copies the data folder of the server, which must not be running.
    pub(crate) fn back_up(&self) {
        copy(&self.data(), &self.backup());
    }

    /// Puts the copy in the data folder's place.
    pub(crate) fn restore(&self) {
        let data = self.data();
        std::fs::remove_dir_all(&data).unwrap();
        copy(&self.backup(), &data);
    }

    fn stack(&self) -> &Stack {
        self.stack.as_ref().unwrap()
    }

    /// In the test's folder, or, for a user that PostgreSQL refuses to run as, where the stack puts it instead.
    fn data(&self) -> PathBuf {
        let home = self.dir.path().join("postgres");
        let name = home.to_string_lossy().replace('/', "-");
        [home, PathBuf::from(format!("/var/tmp/plumbline{name}"))]
            .map(|home| home.join("data"))
            .into_iter()
            .find(|data| data.exists())
            .expect("PostgreSQL's files are elsewhere")
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        drop(self.stack.take());
        let _ = stack::delete(self.dir.path());
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}
