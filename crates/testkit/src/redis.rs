use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stack::Artifacts;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A Redis of a test's own, to kill, stop, fill or count; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    settings: Vec<String>,
    home: TempDir,
}

impl RedisServer {
    /// With more of `redis.conf`'s settings: `("maxmemory", "2mb")`.
    pub fn start(settings: &[(&str, &str)]) -> RedisServer {
        let settings: Vec<String> = settings
            .iter()
            .flat_map(|(name, value)| {
                std::iter::once(format!("--{name}")).chain(value.split(' ').map(str::to_owned))
            })
            .collect();
        let home = TempDir::new().expect("a folder for the server");
        // The port may be taken between looking and starting.
        let (child, port) = (0..10)
            .find_map(|_| {
                let port = RedisServer::free_port();
                Some((launch(port, &settings, &home)?, port))
            })
            .expect("a port that it can start on");
        RedisServer {
            child,
            port,
            settings,
            home,
        }
    }

    /// `PLUMBLINE_REDIS_SERVER` names another release to try: Redis 7 and 8, Valkey.
    pub fn program() -> PathBuf {
        let root = stack::find_root().expect("the repository's root");
        match std::env::var_os("PLUMBLINE_REDIS_SERVER") {
            Some(program) => program.into(),
            None => {
                Artifacts::fetch(&root, &stack::target_dir(&root), |_| {})
                    .expect("the servers' files")
                    .redis
            }
        }
    }

    /// A port that is free, and whose neighbour 10,000 higher is: there a cluster's nodes talk to each other.
    pub fn free_port() -> u16 {
        (0..100)
            .map(|_| {
                TcpListener::bind("127.0.0.1:0")
                    .expect("a free port")
                    .local_addr()
                    .expect("a bound listener's address")
                    .port()
            })
            .find(|port| *port < 55_000 && TcpListener::bind(("127.0.0.1", *port + 10_000)).is_ok())
            .expect("a port with a free neighbour")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Another one in its place: empty.
    pub fn replace(&mut self) {
        self.kill();
        let deadline = Instant::now() + DEADLINE;
        self.child = loop {
            if let Some(child) = launch(self.port, &self.settings, &self.home) {
                break child;
            }
            assert!(Instant::now() < deadline, "the port stays taken");
        };
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// How often each command was called since it started, by its lower-case name, those of scripts included.
    pub fn commands(&self) -> BTreeMap<String, u64> {
        let info = ask(self.port, "INFO commandstats").expect("it answers");
        // `cmdstat_get:calls=21,usec=…` a line.
        let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
        lines
            .map(|line| {
                let (name, rest) = line.split_once(":calls=").expect("Redis's own format");
                let calls = rest.split(',').next().unwrap_or_default();
                (name.to_owned(), calls.parse().expect("Redis's own format"))
            })
            .collect()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(port: u16, settings: &[String], home: &TempDir) -> Option<Child> {
    let mut child = Command::new(RedisServer::program())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(settings)
        .current_dir(home.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("the server's program");
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if child.try_wait().expect("it is our child").is_some() {
            return None;
        }
        // A refusal for want of a password is an answer.
        if ask(port, "PING").is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// The reply to one command: a line, or a text.
fn ask(port: u16, command: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(length) = line
        .strip_prefix('$')
        .and_then(|length| length.trim().parse().ok())
    else {
        return if line.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(line)
        };
    };
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}
