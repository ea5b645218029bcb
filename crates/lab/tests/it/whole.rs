//! The whole system, for one test at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lab::{Arena, Folder};
use stack::{Options, ProcessStatus, Stack, Status};
use tokio::sync::{Mutex, MutexGuard};

/// Two whole systems on two cores would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// A running system; dropping it kills it and ends the turn.
pub(crate) struct WholeStack {
    pub(crate) stack: Stack,
    pub(crate) http: reqwest::Client,
    /// As it was at the start; no address changes.
    status: Status,
    folder: Folder,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for its turn and starts everything from the binaries that belong to this test. `env` is added to the environment of every
/// process.
pub(crate) async fn start(name: &str, env: Vec<(String, String)>) -> WholeStack {
    start_with(name, |_, options| options.env = env).await
}

/// Like [`start`], with other options than the folder's.
pub(crate) async fn start_with(name: &str, change: impl FnOnce(&Folder, &mut Options)) -> WholeStack {
    let turn = turn().await;
    let folder = Folder::make(&format!("test-{name}")).unwrap_or_else(|error| panic!("{error:#}"));
    let mut options = folder.options(&binaries()).unwrap();
    change(&folder, &mut options);
    // No test cuts the power.
    options.fsync = false;
    let arena = Arena::up(folder, options).await;
    let Arena { stack, folder } = arena.unwrap_or_else(|error| panic!("{error:#}"));
    let status = stack.status().await.unwrap();
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    WholeStack {
        stack,
        http,
        status,
        folder,
        _turn: turn,
    }
}

/// Waits until no other test runs a system.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// `target/debug`, seen from `target/debug/deps/it-…`, unless the environment says otherwise.
pub(crate) fn binaries() -> PathBuf {
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

    /// Every replica, as it was at the start.
    pub(crate) fn processes(&self) -> &[ProcessStatus] {
        &self.status.processes
    }

    /// The workspace.
    pub(crate) fn root(&self) -> PathBuf {
        stack::find_root().unwrap()
    }

    /// The address of the mail sink's SMTP listener.
    pub(crate) fn smtp_address(&self) -> &str {
        &self.status.servers["smtp"].address
    }

    /// The ports that processes are told: `postgres`, `redis`, `kafka`, `smtp` and `app-service`.
    pub(crate) fn server_ports(&self) -> BTreeMap<&str, u16> {
        let servers = self
            .status
            .servers
            .iter()
            .map(|(name, server)| (name.as_str(), port(&server.address)));
        servers
            .chain([("app-service", port(&self.http_of("app-service")))])
            .collect()
    }

    /// The boxes that listen, by port, as `peer.service` names them.
    pub(crate) fn names_by_port(&self) -> BTreeMap<u16, String> {
        let servers = self.status.servers.iter().map(|(name, server)| {
            let name = if name == "postgres" { "postgresql" } else { name };
            (port(&server.address), name.to_owned())
        });
        let listening =
            |process: &ProcessStatus| Some((port(process.http.as_deref()?), process.name.clone()));
        servers
            .chain(self.status.processes.iter().filter_map(listening))
            .collect()
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
    host.rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap_or_else(|_| panic!("no port in {address}"))
}
