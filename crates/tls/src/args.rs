//! The flags of a client's files, the same for every server that a process connects to.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::client::{Client, ClientFiles};
use crate::files::{self, BadFile};

/// Which server the flags are about.
pub trait Peer: Send + Sync + 'static {
    /// What the environment variables begin with: `DATABASE`.
    const PREFIX: &'static str;
    /// Its name in help texts: `PostgreSQL`.
    const NAME: &'static str;
}

/// `<PREFIX>_CA_FILE`, `<PREFIX>_CLIENT_CERT_FILE` and `<PREFIX>_CLIENT_KEY_FILE`. Clones share what was made of the files.
pub struct ClientArgs<P> {
    client: Arc<Client>,
    peer: PhantomData<fn() -> P>,
}

impl<P> ClientArgs<P> {
    /// What makes the configuration of each new connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn files(&self) -> &ClientFiles {
        self.client.files()
    }

    /// Whether no file is given.
    pub fn is_empty(&self) -> bool {
        *self.files() == ClientFiles::default()
    }
}

impl<P> From<ClientFiles> for ClientArgs<P> {
    fn from(files: ClientFiles) -> ClientArgs<P> {
        ClientArgs {
            client: Arc::new(Client::new(files)),
            peer: PhantomData,
        }
    }
}

impl<P> Default for ClientArgs<P> {
    fn default() -> ClientArgs<P> {
        ClientFiles::default().into()
    }
}

impl<P> Clone for ClientArgs<P> {
    fn clone(&self) -> ClientArgs<P> {
        ClientArgs {
            client: Arc::clone(&self.client),
            peer: PhantomData,
        }
    }
}

impl<P> fmt::Debug for ClientArgs<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files().fmt(out)
    }
}

const CA: &str = "CA_FILE";
const CERTIFICATE: &str = "CLIENT_CERT_FILE";
const KEY: &str = "CLIENT_KEY_FILE";

fn env<P: Peer>(what: &str) -> String {
    format!("{}_{what}", P::PREFIX)
}

fn flag<P: Peer>(what: &str) -> String {
    env::<P>(what).to_ascii_lowercase().replace('_', "-")
}

impl<P: Peer> Args for ClientArgs<P> {
    fn augment_args(command: Command) -> Command {
        let arg = |what: &str| {
            Arg::new(flag::<P>(what))
                .long(flag::<P>(what))
                .env(env::<P>(what))
                .value_name("FILE")
        };
        let name = P::NAME;
        command
            .arg(arg(CA).value_parser(certificate_file).help(format!(
                "CA certificates (PEM) that {name}'s certificate has to lead to; without it the operating system's are trusted"
            )))
            .arg(
                arg(CERTIFICATE)
                    .value_parser(certificate_file)
                    .requires(flag::<P>(KEY))
                    .help(format!("Certificate chain (PEM) that this process shows to {name}, where it asks for one")),
            )
            .arg(
                arg(KEY)
                    .value_parser(key_file)
                    .requires(flag::<P>(CERTIFICATE))
                    .help("Private key (PEM) of that certificate"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: Peer> FromArgMatches for ClientArgs<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ClientArgs<P>, clap::Error> {
        let path = |what: &str| matches.get_one::<PathBuf>(&flag::<P>(what)).cloned();
        Ok(ClientFiles {
            ca: path(CA),
            identity: path(CERTIFICATE).zip(path(KEY)),
        }
        .into())
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// For clap: a file that holds certificates in PEM, read once so that a wrong one ends the start.
///
/// # Errors
/// When it does not.
pub fn certificate_file(path: &str) -> Result<PathBuf, BadFile> {
    let path = Path::new(path);
    files::certificates(path, &files::read(path)?)?;
    Ok(path.to_owned())
}

/// For clap: a file that holds a private key in PEM, read once so that a wrong one ends the start.
///
/// # Errors
/// When it does not.
pub fn key_file(path: &str) -> Result<PathBuf, BadFile> {
    let path = Path::new(path);
    files::key(path, &files::read(path)?)?;
    Ok(path.to_owned())
}
