//! A Redis of a test's own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Client, Connection, FromRedisValue, cmd};
use rustix::process::{Pid, Signal, kill_process};
use stack::Artifacts;
use tempfile::TempDir;

/// Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    settings: Vec<String>,
    home: TempDir,
}

impl Server {
    /// With more of `redis.conf`'s settings: `("maxmemory", "2mb")`.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
        let settings: Vec<String> = settings
            .iter()
            .flat_map(|(name, value)| {
                std::iter::once(format!("--{name}")).chain(value.split(' ').map(str::to_owned))
            })
            .collect();
        let home = TempDir::new().unwrap();
        // The port may be taken between looking and starting.
        let (child, port) = (0..10)
            .find_map(|_| {
                let port = free_port();
                Some((launch(port, &settings, &home)?, port))
            })
            .unwrap();
        Server {
            child,
            port,
            settings,
            home,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn admin(&self) -> Connection {
        connect(&self.url())
    }

    pub(crate) fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().unwrap();
        cmd(name).arg(arguments).query(&mut self.admin()).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Another one in its place: empty.
    pub(crate) fn replace(&mut self) {
        self.kill();
        let deadline = Instant::now() + Duration::from_secs(30);
        self.child = loop {
            if let Some(child) = launch(self.port, &self.settings, &self.home) {
                break child;
            }
            assert!(Instant::now() < deadline, "the port stays taken");
        };
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

/// A cluster's nodes talk to each other on the port 10,000 higher.
pub(crate) fn free_port() -> u16 {
    (0..100)
        .map(|_| {
            TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        })
        .find(|port| *port < 55_000 && TcpListener::bind(("127.0.0.1", *port + 10_000)).is_ok())
        .unwrap()
}

/// `PLUMBLINE_REDIS_SERVER` names another release to try: Redis 7 and 8, Valkey.
pub(crate) fn program() -> PathBuf {
    let root = stack::find_root().unwrap();
    match std::env::var_os("PLUMBLINE_REDIS_SERVER") {
        Some(program) => program.into(),
        None => {
            Artifacts::fetch(&root, &stack::target_dir(&root), |_| {})
                .unwrap()
                .redis
        }
    }
}

fn launch(port: u16, settings: &[String], home: &TempDir) -> Option<Child> {
    let mut child = Command::new(program())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(settings)
        .current_dir(home.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        let client = Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        if client.get_connection_with_timeout(Duration::from_secs(1)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

pub(crate) fn connect(url: &str) -> Connection {
    Client::open(url).unwrap().get_connection().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
