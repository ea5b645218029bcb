//! Passwords of the local servers' users: made once per state folder, readable by nobody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How passwords are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// 144 random bits each, kept in the state folder with mode 0600.
    Random,
    /// A user's password is its name: for test servers, whose users are known to every test.
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
    /// Reads the kept passwords and makes the missing ones of `accounts`.
    pub(crate) fn open<'a>(
        dir: &Path,
        passwords: Passwords,
        accounts: impl IntoIterator<Item = Account<'a>>,
    ) -> anyhow::Result<Secrets> {
        let path: PathBuf = dir.join("secrets.json");
        let mut secrets = Secrets { passwords: BTreeMap::new() };
        match std::fs::read(&path) {
            Ok(bytes) => {
                secrets.passwords =
                    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        for account in accounts {
            secrets.passwords.entry(account.key()).or_insert_with(|| match passwords {
                Passwords::Random => random(),
                Passwords::Names => account.user().to_owned(),
            });
        }
        crate::files::write_private(&path, &serde_json::to_vec_pretty(&secrets.passwords)?)?;
        Ok(secrets)
    }

    /// The password of an account that `open` was asked for.
    pub(crate) fn password(&self, account: Account<'_>) -> &str {
        self.passwords.get(&account.key()).expect("every account of the architecture is made when the secrets are opened")
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
        let open = || Secrets::open(dir.path(), Passwords::Random, [Account::Kafka("app")]).unwrap();
        let first = open().password(Account::Kafka("app")).to_owned();
        assert_eq!(first, open().password(Account::Kafka("app")));
        let mode = std::fs::metadata(dir.path().join("secrets.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
