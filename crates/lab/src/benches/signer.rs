//! Speaking to app-service as the gateway does: with its word on who is calling.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use identity::{Caller, Minter};
use serde_json::Value;

/// The gateway's signing key.
pub(crate) struct Signer {
    minter: Minter,
}

impl Signer {
    /// The key of the stack in `dir`.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<Signer> {
        let keys = dir.join("keys");
        let pem = std::fs::read(keys.join("assertion.pem")).context("cannot read the gateway's key")?;
        let published =
            std::fs::read(keys.join("assertion-jwks.json")).context("cannot read the key's name")?;
        let published: Value = serde_json::from_slice(&published)?;
        let key_id = published["keys"][0]["kid"]
            .as_str()
            .context("the key has no name")?;
        Ok(Signer {
            minter: Minter::from_pem(&pem, key_id)?,
        })
    }

    /// An assertion about `caller`, which holds for a minute.
    pub(crate) fn assertion(&self, caller: &Caller) -> anyhow::Result<String> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs();
        Ok(self.minter.mint(caller, i64::try_from(now)?)?)
    }
}
