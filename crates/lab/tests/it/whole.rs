//! The whole system, for one test at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lab::{Arena, Folder};
use stack::{ProcessStatus, Stack, Status};
use tokio::sync::{Mutex, MutexGuard};

/// Two whole systems on two cores would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// A running system; dropping it kills it and ends the turn.
pub(crate) struct WholeStack {
    pub(crate) stack: Stack,
    pub(crate) http: reqwest::Client,
    folder: Folder,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for its turn and starts everything from the binaries that belong to this test. `env` is added to the environment of every
/// process.
pub(crate) async fn start(name: &str, env: Vec<(String, String)>) -> WholeStack {
    let turn = TURN.lock().await;
    let folder = Folder::make(&format!("test-{name}")).unwrap_or_else(|error| panic!("{error:#}"));
    let Arena { stack, folder } =
        Arena::up(folder, &binaries(), env).await.unwrap_or_else(|error| panic!("{error:#}"));
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    WholeStack { stack, http, folder, _turn: turn }
}

/// `target/debug`, seen from `target/debug/deps/it-…`, unless the environment says otherwise.
fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("PLUMBLINE_STACK_BINARIES") {
        return folder.into();
    }
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

impl WholeStack {
    /// The gateway's URL.
    pub(crate) fn gateway(&self) -> String {
        self.http_of("gateway")
    }

    /// The URL of a process's first replica.
    pub(crate) fn http_of(&self, process: &str) -> String {
        self.stack.http_url(process, 1).unwrap()
    }

    /// The URL of the mail sink's API.
    pub(crate) fn mail_api(&self) -> String {
        self.stack.mail_url().unwrap()
    }

    /// The workspace.
    pub(crate) fn root(&self) -> PathBuf {
        stack::find_root().unwrap()
    }

    /// Where everything runs.
    pub(crate) async fn status(&self) -> Status {
        self.stack.status().await.unwrap()
    }

    /// The ports that processes are told: `postgres`, `redis`, `kafka`, `smtp` and `app-service`.
    pub(crate) async fn server_ports(&self) -> BTreeMap<String, u16> {
        let servers = self.status().await.servers.into_iter();
        let servers = servers.map(|(name, server)| (name, port(&server.address)));
        servers.chain([("app-service".to_owned(), port(&self.http_of("app-service")))]).collect()
    }

    /// The boxes that listen, by port, as `peer.service` names them.
    pub(crate) async fn names_by_port(&self) -> BTreeMap<u16, String> {
        let status = self.status().await;
        let servers = status.servers.into_iter().map(|(name, server)| {
            let box_ = if name == "postgres" { "postgresql".to_owned() } else { name };
            (port(&server.address), box_)
        });
        let listening = |process: ProcessStatus| Some((port(process.http.as_deref()?), process.name));
        servers.chain(status.processes.into_iter().filter_map(listening)).collect()
    }

    /// Ends everything in order.
    pub(crate) async fn down(self) {
        self.stack.down().await;
        self.folder.delete();
    }
}

/// The port in a URL or an address.
fn port(address: &str) -> u16 {
    let (_, host) = address.split_once("://").unwrap_or(("", address));
    let (_, host) = host.rsplit_once('@').unwrap_or(("", host));
    let host = host.split('/').next().unwrap();
    host.rsplit(':').next().unwrap().parse().unwrap_or_else(|_| panic!("no port in {address}"))
}
