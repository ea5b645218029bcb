//! The development mail sink: it takes every message, keeps it as a file and shows it in the shape of
//! Mailpit's API.

mod api;
mod mailbox;
mod protocol;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use mailbox::Mailbox;

/// The sink as a child: `stack smtp-sink`.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    program: PathBuf,
    dir: PathBuf,
    pub(crate) smtp: u16,
    pub(crate) http: u16,
}

impl Sink {
    pub(crate) fn new(program: PathBuf, dir: &Path, smtp: u16, http: u16) -> Sink {
        Sink {
            program,
            dir: dir.join("mail"),
            smtp,
            http,
        }
    }

    pub(crate) fn server(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("smtp-sink").arg("--dir").arg(&self.dir);
        command.arg("--smtp").arg(format!("127.0.0.1:{}", self.smtp));
        command.arg("--http").arg(format!("127.0.0.1:{}", self.http));
        command
    }

    /// Both listeners are open: HTTP is bound last.
    pub(crate) async fn probe(&self) -> anyhow::Result<()> {
        let connect = TcpStream::connect(("127.0.0.1", self.http));
        timeout(Duration::from_secs(2), connect)
            .await
            .context("connecting took too long")??;
        Ok(())
    }
}

/// Serves SMTP and HTTP until the process ends. Messages are files in `dir`, which is read again at the
/// start.
pub async fn serve_mail_sink(smtp: SocketAddr, http: SocketAddr, dir: &Path) -> anyhow::Result<()> {
    let mailbox = Arc::new(Mailbox::open(dir)?);
    let listener = TcpListener::bind(smtp).with_context(|| format!("cannot listen on {smtp}"))?;
    let receiver = mailbox.clone();
    std::thread::spawn(move || protocol::accept(&listener, &receiver));
    api::serve(http, mailbox).await
}
