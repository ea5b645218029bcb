//! Asking app-service itself, as the gateway does.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use identity::{Caller, Minter};
use serde_json::Value;
use stack::Stack;

use crate::load::shop::{Outcome, outcome};

/// A client with the gateway's word on who is calling. It holds for a minute.
pub(crate) struct Direct {
    http: reqwest::Client,
    url: String,
    assertion: String,
}

impl Direct {
    /// A client of the stack in `dir`, whose assertions are signed with the key that the gateway has.
    pub(crate) fn new(stack: &Stack, dir: &Path) -> anyhow::Result<Direct> {
        let keys = dir.join("keys");
        let pem = std::fs::read(keys.join("assertion.pem")).context("cannot read the gateway's key")?;
        let published =
            std::fs::read(keys.join("assertion-jwks.json")).context("cannot read the key's name")?;
        let published: Value = serde_json::from_slice(&published)?;
        let key_id = published["keys"][0]["kid"]
            .as_str()
            .context("the key has no name")?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs();
        let assertion = Minter::from_pem(&pem, key_id)?.mint(&Caller::anonymous(), i64::try_from(now)?)?;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(15))
            .build()?;
        Ok(Direct {
            http,
            url: stack.http_url("app-service", 1)?,
            assertion,
        })
    }

    /// Reads a path as anybody.
    pub(crate) async fn look(&self, path: &str) -> Outcome {
        let request = self.http.get(format!("{}{path}", self.url));
        outcome(
            request
                .header("x-plumbline-identity", &self.assertion)
                .send()
                .await,
        )
        .await
        .0
    }
}
