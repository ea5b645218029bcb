//! Which port each listener gets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, ensure};

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
    /// The documented port.
    fn fixed(&self) -> anyhow::Result<u16> {
        Ok(match self {
            Listener::Postgres => 55432,
            Listener::Redis => 56379,
            Listener::Kafka => 59092,
            Listener::KafkaController => 59093,
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
    Ok(found.with_context(|| format!("process {name:?} has no fixed port yet; give it one in crates/stack/src/ports.rs"))?.1)
}

/// The ports that were given out.
#[derive(Debug)]
pub(crate) struct PortBook {
    ports: Ports,
    given: BTreeMap<Listener, u16>,
}

impl PortBook {
    pub(crate) fn new(ports: Ports) -> PortBook {
        PortBook { ports, given: BTreeMap::new() }
    }

    /// The listener's port on 127.0.0.1; the same one whenever it is asked for.
    pub(crate) fn port(&mut self, listener: &Listener) -> anyhow::Result<u16> {
        if let Some(port) = self.given.get(listener) {
            return Ok(*port);
        }
        let port = match self.ports {
            Ports::Fixed => listener.fixed()?,
            Ports::Free => self.free()?,
        };
        self.given.insert(listener.clone(), port);
        Ok(port)
    }

    /// A port that nobody listens on. It lies below the range that the kernel gives to outgoing connections: otherwise a client that
    /// reconnects to a killed server could take, or even connect to, the server's own port.
    fn free(&self) -> anyhow::Result<u16> {
        for _ in 0..200 {
            let port = rand::random_range(15_000..32_000);
            if !self.given.values().any(|given| *given == port) && is_free(port) {
                return Ok(port);
            }
        }
        anyhow::bail!("no free port was found between 15000 and 32000")
    }
}

/// Fails with one clause per listener whose port somebody else has.
pub(crate) fn check_free(wanted: &[(Listener, u16)]) -> anyhow::Result<()> {
    let taken: Vec<String> = wanted
        .iter()
        .filter(|(_, port)| !is_free(*port))
        .map(|(listener, port)| format!("port {port} is taken, {listener} needs it"))
        .collect();
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
        let error = check_free(&[(Listener::Http("gateway".into(), 1), port)]).unwrap_err();
        assert_eq!(error.to_string(), format!("port {port} is taken, gateway 1 (HTTP) needs it"));
    }

    #[test]
    fn fixed_ports_of_all_replicas_differ() {
        let mut book = PortBook::new(Ports::Fixed);
        let mut seen = std::collections::BTreeSet::new();
        let names = ["gateway", "app-service", "analytics-consumer", "email-consumer", "audit-consumer"];
        for name in names {
            for replica in 1..=MAX_REPLICAS {
                assert!(seen.insert(book.port(&Listener::Http(name.into(), replica)).unwrap()));
                assert!(seen.insert(book.port(&Listener::Admin(name.into(), replica)).unwrap()));
            }
        }
        use Listener::{Kafka, KafkaController, Postgres, Redis, Smtp, SmtpHttp};
        for server in [Postgres, Redis, Kafka, KafkaController, Smtp, SmtpHttp] {
            assert!(seen.insert(book.port(&server).unwrap()));
        }
    }

    #[test]
    fn a_listener_keeps_its_free_port() {
        let mut book = PortBook::new(Ports::Free);
        let kafka = book.port(&Listener::Kafka).unwrap();
        assert_ne!(kafka, book.port(&Listener::Redis).unwrap());
        assert_eq!(kafka, book.port(&Listener::Kafka).unwrap());
    }
}
