//! Passwords of the local servers' users: made once per state folder, readable by nobody else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::architecture::{Architecture, owner_role, runtime_role};
use crate::{kafka, postgres, redis};

/// How passwords are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// 144 random bits each, kept in the state folder with mode 0600.
    Random,
    /// A user's password is its name, and nothing is kept: for test servers, whose users are known to every
    /// test, and for containers.
    Names,
}

/// The passwords by server and user.
#[derive(Debug)]
pub(crate) struct Secrets {
    passwords: BTreeMap<String, String>,
}

/// A user of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Account<'a> {
    Postgres(&'a str),
    Redis(&'a str),
    Kafka(&'a str),
}

impl Account<'_> {
    fn key(self) -> String {
        match self {
            Account::Postgres(user) => format!("postgres/{user}"),
            Account::Redis(user) => format!("redis/{user}"),
            Account::Kafka(user) => format!("kafka/{user}"),
        }
    }

    fn user(&self) -> &str {
        match self {
            Account::Postgres(user) | Account::Redis(user) | Account::Kafka(user) => user,
        }
    }
}

impl Secrets {
    /// Reads the kept passwords and makes the missing ones of the architecture's users and of each server's
    /// administrator.
    pub(crate) fn open(
        dir: &Path,
        passwords: Passwords,
        architecture: &Architecture,
    ) -> anyhow::Result<Secrets> {
        let path = dir.join("secrets.json");
        let kept: BTreeMap<String, String> = match std::fs::read(&path) {
            _ if passwords == Passwords::Names => BTreeMap::new(),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut all = kept.clone();
        let mut need = |account: Account<'_>| {
            all.entry(account.key()).or_insert_with(|| match passwords {
                Passwords::Random => random(),
                Passwords::Names => account.user().to_owned(),
            });
        };
        need(Account::Postgres(postgres::SUPERUSER));
        need(Account::Redis(redis::ADMIN));
        need(Account::Kafka(kafka::ADMIN));
        for (database, _) in architecture.databases() {
            need(Account::Postgres(&owner_role(database)));
            need(Account::Postgres(&runtime_role(database)));
        }
        architecture
            .redis_users()
            .for_each(|(user, _)| need(Account::Redis(user)));
        architecture
            .kafka_users()
            .for_each(|user| need(Account::Kafka(user)));
        if all != kept && passwords == Passwords::Random {
            crate::files::write_private(&path, &serde_json::to_vec_pretty(&all)?)?;
        }
        Ok(Secrets { passwords: all })
    }

    /// The password of an administrator or of a user of the architecture.
    pub(crate) fn password(&self, account: Account<'_>) -> &str {
        let known = self.passwords.get(&account.key());
        known.expect("every user of the architecture gets a password when the secrets are opened")
    }
}

/// 144 random bits in characters that need no quoting in a URL, a configuration file or SQL.
fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_kept_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let architecture = Architecture::parse("[process.app]\nproduces = ['orders']").unwrap();
        let open = || Secrets::open(dir.path(), Passwords::Random, &architecture).unwrap();
        let first = open().password(Account::Kafka("app")).to_owned();
        assert_eq!(first, open().password(Account::Kafka("app")));
        assert_ne!(first, open().password(Account::Kafka("admin")));
        let mode = std::fs::metadata(dir.path().join("secrets.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
