//! The mail sink as a child: `stack smtp-sink`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[derive(Clone, Debug)]
pub(crate) struct Sink {
    program: PathBuf,
    dir: PathBuf,
    pub(crate) smtp: u16,
    pub(crate) http: u16,
}

impl Sink {
    pub(crate) fn new(program: PathBuf, dir: &Path, smtp: u16, http: u16) -> Sink {
        Sink { program, dir: dir.join("mail"), smtp, http }
    }

    pub(crate) fn server(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("smtp-sink").arg("--dir").arg(&self.dir);
        command.arg("--smtp").arg(format!("127.0.0.1:{}", self.smtp));
        command.arg("--http").arg(format!("127.0.0.1:{}", self.http));
        command
    }

    /// Both listeners are open; it binds HTTP last.
    pub(crate) async fn probe(&self) -> anyhow::Result<()> {
        let connect = TcpStream::connect(("127.0.0.1", self.http));
        timeout(Duration::from_secs(2), connect).await.context("connecting took too long")??;
        Ok(())
    }
}
