//! TLS on the process's listeners, and when they may do without.

use std::net::SocketAddr;
use std::path::PathBuf;

use settings::Misconfigured;
use tls::{Server, ServerConfig, ServerFiles};

use crate::args::AdminArgs;
use crate::program::Given;

/// TLS of every listener of the process, the admin address included.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS of the listeners")]
pub struct TlsArgs {
    /// Certificate chain (PEM) of this process's listeners, their own certificate first. With it they speak TLS. This file and its
    /// companions are read again when they change.
    #[arg(long, env = "TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file", value_parser = tls::certificate_file)]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key (PEM, unencrypted) of that certificate.
    #[arg(long, env = "TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file", value_parser = tls::key_file)]
    pub tls_key_file: Option<PathBuf>,

    /// CA certificates (PEM): every client has to show a certificate that one of them signed. The admin address does not ask, because
    /// what probes it has none.
    #[arg(long, env = "TLS_CLIENT_CA_FILE", value_name = "FILE", requires = "tls_cert_file", value_parser = tls::certificate_file)]
    pub tls_client_ca_file: Option<PathBuf>,

    /// What the process is run for: `production` refuses a listener that other machines reach without TLS.
    #[arg(long, env = "PROFILE", value_name = "PROFILE", default_value = "development")]
    pub profile: Profile,

    /// Says that something else encrypts what reaches the listeners, so that they may do without TLS in production.
    #[arg(long, env = "ALLOW_PLAINTEXT", value_name = "WHY")]
    pub allow_plaintext: Option<AllowPlaintext>,
}

/// What the process is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    Development,
    Production,
}

/// What encrypts in place of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AllowPlaintext {
    /// A service mesh.
    Mesh,
}

/// The TLS of the process's listeners, loaded; cheap to clone.
#[derive(Clone, Debug)]
pub struct Listeners {
    server: Option<Server>,
    plain: Plain,
}

/// Where a listener without TLS may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Anywhere,
    Loopback,
}

/// What is wrong with the addresses and the TLS of the process's listeners.
pub(crate) fn faults(given: &Given<'_>) -> Vec<String> {
    let admin = given.get::<AdminArgs>().map(|admin| admin.admin_addr);
    let http = given.one::<SocketAddr>("http_addr");
    let mut faults = Vec::new();
    if let Some(tls) = given.get::<TlsArgs>() {
        let listeners = [("ADMIN_ADDR", admin), ("HTTP_ADDR", http)];
        faults.extend(
            listeners
                .into_iter()
                .filter_map(|(name, address)| tls.fault(name, address?)),
        );
    }
    if let (Some(http), Some(admin)) = (http, admin)
        && overlap(http, admin)
    {
        faults.push(format!(
            "HTTP_ADDR ({http}) and ADMIN_ADDR ({admin}) are the same address; they must differ"
        ));
    }
    faults
}

/// Whether two listeners would be in each other's way. Each port 0 is another one.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: SocketAddr, one: SocketAddr| {
        all.ip() == one.ip() || all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
    };
    one.port() != 0 && one.port() == other.port() && (covers(one, other) || covers(other, one))
}

impl TlsArgs {
    /// What is wrong with a listener at `address`, which the setting `name` gives.
    fn fault(&self, name: &str, address: SocketAddr) -> Option<String> {
        let checked = self.load().and_then(|listeners| listeners.check(name, address));
        checked.err().map(|Misconfigured(fault)| fault)
    }

    /// Loads the files.
    ///
    /// # Errors
    /// When one cannot be used, or the key is not the certificate's.
    pub fn load(&self) -> Result<Listeners, Misconfigured> {
        let files = self
            .tls_cert_file
            .clone()
            .zip(self.tls_key_file.clone())
            .map(|(certificate, key)| ServerFiles {
                certificate,
                key,
                client_ca: self.tls_client_ca_file.clone(),
            });
        let server = files.map(Server::load).transpose().map_err(|error| {
            Misconfigured(format!(
                "TLS_CERT_FILE, TLS_KEY_FILE, TLS_CLIENT_CA_FILE: {error}"
            ))
        })?;
        let plain = match (self.profile, self.allow_plaintext) {
            (Profile::Production, None) => Plain::Loopback,
            _ => Plain::Anywhere,
        };
        Ok(Listeners { server, plain })
    }
}

impl Listeners {
    #[cfg(test)]
    pub(crate) fn plain() -> Listeners {
        Listeners {
            server: None,
            plain: Plain::Anywhere,
        }
    }

    /// The TLS of a listener at `address`, which the setting `name` gives; `None` is plain text.
    ///
    /// # Errors
    /// When it has to have TLS and has none.
    pub fn at(&self, name: &str, address: SocketAddr) -> Result<Option<ServerConfig>, Misconfigured> {
        self.check(name, address)?;
        Ok(self.server.as_ref().map(Server::config))
    }

    /// Like [`at`](Self::at), for a listener whose clients have no certificate.
    pub(crate) fn at_without_clients(
        &self,
        name: &str,
        address: SocketAddr,
    ) -> Result<Option<ServerConfig>, Misconfigured> {
        self.check(name, address)?;
        Ok(self.server.as_ref().map(Server::config_without_clients))
    }

    /// Whether a listener at `address` may be as it is.
    ///
    /// # Errors
    /// When it has to have TLS and has none.
    fn check(&self, name: &str, address: SocketAddr) -> Result<(), Misconfigured> {
        if self.server.is_some() || self.plain == Plain::Anywhere || address.ip().is_loopback() {
            return Ok(());
        }
        Err(Misconfigured(format!(
            "{name}={address}: with PROFILE=production a listener that other machines reach needs TLS: \
             set TLS_CERT_FILE and TLS_KEY_FILE, or ALLOW_PLAINTEXT=mesh where a service mesh encrypts"
        )))
    }

    /// Takes changed files over, until the process ends.
    pub(crate) async fn follow(self) {
        if let Some(server) = self.server {
            server.follow().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        tls: TlsArgs,
    }

    #[test]
    fn production_refuses_a_listener_for_other_machines_without_tls() {
        let check = |arguments: &str, address: &str, allowed: bool| {
            let command = Command::parse_from(["test"].into_iter().chain(arguments.split_whitespace()));
            let listener = command
                .tls
                .load()
                .unwrap()
                .at("HTTP_ADDR", address.parse().unwrap());
            assert_eq!(listener.is_ok(), allowed, "{arguments} {address}");
            if let Err(error) = listener {
                let text = error.to_string();
                for name in ["HTTP_ADDR", "TLS_CERT_FILE", "ALLOW_PLAINTEXT=mesh"] {
                    assert!(text.contains(name), "{name} in {text}");
                }
            }
        };
        check("", "0.0.0.0:80", true);
        check("--profile production", "127.0.0.1:80", true);
        check("--profile production", "[::1]:80", true);
        check("--profile production", "0.0.0.0:80", false);
        check("--profile production", "10.0.0.1:80", false);
        check("--profile production", "[::]:80", false);
        check("--profile production --allow-plaintext mesh", "0.0.0.0:80", true);
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_client_ca_needs_both() {
        for arguments in [
            ["test", "--tls-cert-file", "/dev/null"],
            ["test", "--tls-client-ca-file", "/nowhere"],
        ] {
            assert!(Command::try_parse_from(arguments).is_err());
        }
    }
}
