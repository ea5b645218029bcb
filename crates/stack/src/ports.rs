//! Which port each listener gets.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

use anyhow::{Context as _, ensure};

use crate::architecture::{Architecture, Process};
use crate::options::Options;

/// How ports are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The documented ones, so that addresses are the same every day.
    Fixed,
    /// Free ones, so that several stacks run side by side. A listener keeps its port for the stack's life.
    Free,
}

/// Something that listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Listener {
    Postgres,
    Redis,
    Kafka,
    KafkaController,
    Smtp,
    SmtpHttp,
    /// A process's own HTTP listener, by name and replica (from 1).
    Http(String, u16),
    /// A process's admin listener, by name and replica (from 1).
    Admin(String, u16),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Postgres => f.write_str("PostgreSQL"),
            Listener::Redis => f.write_str("Redis"),
            Listener::Kafka => f.write_str("Kafka"),
            Listener::KafkaController => f.write_str("Kafka (controller)"),
            Listener::Smtp => f.write_str("the mail sink (SMTP)"),
            Listener::SmtpHttp => f.write_str("the mail sink (HTTP)"),
            Listener::Http(name, replica) => write!(f, "{name} {replica} (HTTP)"),
            Listener::Admin(name, replica) => write!(f, "{name} {replica} (admin)"),
        }
    }
}

/// More replicas would reach the next block of fixed ports.
pub(crate) const MAX_REPLICAS: u16 = 10;

/// Admin listeners are this far above the process's HTTP port.
const ADMIN: u16 = 1000;

/// Each further replica is this far above the one before it.
const REPLICA: u16 = 100;

impl Listener {
    /// The documented port: below those that the kernel gives to outgoing connections, and outside the free blocks.
    fn fixed(&self) -> anyhow::Result<u16> {
        Ok(match self {
            Listener::Postgres => 14432,
            Listener::Redis => 14379,
            Listener::Kafka => 14092,
            Listener::KafkaController => 14093,
            Listener::Smtp => 1025,
            Listener::SmtpHttp => 8025,
            Listener::Http(name, replica) => process(name)? + REPLICA * (replica - 1),
            Listener::Admin(name, replica) => process(name)? + ADMIN + REPLICA * (replica - 1),
        })
    }
}

fn process(name: &str) -> anyhow::Result<u16> {
    let known = [
        ("gateway", 8080),
        ("app-service", 8081),
        ("analytics-consumer", 8082),
        ("email-consumer", 8083),
        ("audit-consumer", 8084),
    ];
    let found = known.into_iter().find(|(known, _)| *known == name);
    Ok(found
        .with_context(|| {
            format!("process {name:?} has no fixed port yet; give it one in crates/stack/src/ports.rs")
        })?
        .1)
}

/// The port of every listener that there may be, on 127.0.0.1.
#[derive(Debug)]
pub(crate) struct PortBook {
    given: BTreeMap<Listener, u16>,
    /// Keeps other stacks from the same block of free ports.
    _block: Option<File>,
}

impl PortBook {
    pub(crate) fn new(ports: Ports, architecture: &Architecture) -> anyhow::Result<PortBook> {
        let listeners = listeners(architecture);
        match ports {
            Ports::Fixed => {
                let fixed = listeners
                    .into_iter()
                    .map(|listener| Ok((listener.clone(), listener.fixed()?)));
                Ok(PortBook {
                    given: fixed.collect::<anyhow::Result<_>>()?,
                    _block: None,
                })
            }
            Ports::Free => {
                let (lock, block) = free_block()?;
                let free: Vec<u16> = block
                    .filter(|port| is_free(*port))
                    .take(listeners.len())
                    .collect();
                ensure!(free.len() == listeners.len(), "too few free ports");
                Ok(PortBook {
                    given: listeners.into_iter().zip(free).collect(),
                    _block: Some(lock),
                })
            }
        }
    }

    pub(crate) fn port(&self, listener: &Listener) -> anyhow::Result<u16> {
        let port = self.given.get(listener);
        port.copied()
            .with_context(|| format!("{listener} has no port; there are at most {MAX_REPLICAS} replicas"))
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self, listener: &Listener) -> anyhow::Result<String> {
        Ok(format!("127.0.0.1:{}", self.port(listener)?))
    }
}

fn listeners(architecture: &Architecture) -> Vec<Listener> {
    use Listener::{Admin, Http, Kafka, KafkaController, Postgres, Redis, Smtp, SmtpHttp};
    let mut all = vec![Postgres, Redis, Kafka, KafkaController, Smtp, SmtpHttp];
    for name in architecture.processes.keys() {
        for replica in 1..=MAX_REPLICAS {
            all.extend([Http(name.clone(), replica), Admin(name.clone(), replica)]);
        }
    }
    all
}

/// Stacks start side by side, and a port that is only about to be used looks free to all of them, so each
/// takes a whole block under a lock. The blocks lie below the range that the kernel gives to outgoing
/// connections: otherwise a client that reconnects to a killed server could take, or even connect to, the
/// server's own port.
fn free_block() -> anyhow::Result<(File, Range<u16>)> {
    const SIZE: u16 = 250;
    for first in (15_000..32_000 - SIZE).step_by(usize::from(SIZE)) {
        let path = std::env::temp_dir().join(format!("plumbline-ports-{first}.lock"));
        // Another user's stack owns the file: then the block is theirs.
        let Ok(lock) = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
        else {
            continue;
        };
        if lock.try_lock().is_ok() {
            return Ok((lock, first..first + SIZE));
        }
    }
    anyhow::bail!("all blocks of ports between 15000 and 32000 are in use")
}

/// Fails when somebody else has a fixed port that such a stack would use, naming port and user. Free ports
/// are not looked at.
pub fn check_ports(options: &Options, architecture: &Architecture) -> anyhow::Result<()> {
    if options.ports == Ports::Free {
        return Ok(());
    }
    let book = PortBook::new(options.ports, architecture)?;
    let external = &options.external;
    let native = [
        (external.postgres_url.is_none(), vec![Listener::Postgres]),
        (external.redis_url.is_none(), vec![Listener::Redis]),
        (
            external.kafka_bootstrap.is_none(),
            vec![Listener::Kafka, Listener::KafkaController],
        ),
        (options.runs_mail_sink(), vec![Listener::Smtp, Listener::SmtpHttp]),
    ];
    let servers = native
        .into_iter()
        .filter(|(ours, _)| *ours)
        .flat_map(|(_, listeners)| listeners);
    let processes = architecture.processes.iter().flat_map(|(name, process)| {
        (1..=options.replicas_of(name)).flat_map(|replica| listeners_of(name, replica, process))
    });
    check_free(&book, servers.chain(processes))
}

/// A replica's listeners.
pub(crate) fn listeners_of(name: &str, replica: u16, process: &Process) -> impl Iterator<Item = Listener> {
    let http = process
        .serves
        .is_some()
        .then(|| Listener::Http(name.to_owned(), replica));
    http.into_iter()
        .chain([Listener::Admin(name.to_owned(), replica)])
}

/// Fails with one clause per listener whose port somebody else has.
pub(crate) fn check_free(
    book: &PortBook,
    listeners: impl IntoIterator<Item = Listener>,
) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    for listener in listeners {
        let port = book.port(&listener)?;
        if !is_free(port) {
            taken.push(format!("port {port} is taken, {listener} needs it"));
        }
    }
    ensure!(taken.is_empty(), "{}", taken.join("; "));
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_wanted_it() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let gateway = Listener::Http("gateway".into(), 1);
        let book = PortBook {
            given: BTreeMap::from([(gateway.clone(), port)]),
            _block: None,
        };
        let error = check_free(&book, [gateway]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port {port} is taken, gateway 1 (HTTP) needs it")
        );
    }

    fn shop() -> Architecture {
        let names = [
            "gateway",
            "app-service",
            "analytics-consumer",
            "email-consumer",
            "audit-consumer",
        ];
        Architecture::parse(&names.map(|name| format!("[process.{name}]\n")).concat()).unwrap()
    }

    #[test]
    fn fixed_ports_are_the_documented_ones_and_all_differ() {
        let book = PortBook::new(Ports::Fixed, &shop()).unwrap();
        let port = |listener| book.port(&listener).unwrap();
        assert_eq!(port(Listener::Http("gateway".into(), 1)), 8080);
        assert_eq!(port(Listener::Http("app-service".into(), 3)), 8281);
        assert_eq!(port(Listener::Admin("email-consumer".into(), 1)), 9083);
        let all: std::collections::BTreeSet<u16> = book.given.values().copied().collect();
        assert_eq!(all.len(), book.given.len());
        let first_free = 15_000;
        assert!(all.iter().all(|port| *port < first_free), "{all:?}");
    }

    #[test]
    fn two_stacks_on_free_ports_do_not_meet() {
        let (one, other) = (
            PortBook::new(Ports::Free, &shop()).unwrap(),
            PortBook::new(Ports::Free, &shop()).unwrap(),
        );
        let other: Vec<&u16> = other.given.values().collect();
        assert!(one.given.values().all(|port| !other.contains(&port)));
    }

    #[test]
    fn a_process_without_a_documented_port_is_named() {
        let error =
            PortBook::new(Ports::Fixed, &Architecture::parse("[process.newcomer]").unwrap()).unwrap_err();
        assert!(error.to_string().contains("newcomer"), "{error}");
    }
}
