//! Asking app-service itself, as the gateway does.

use std::path::Path;
use std::time::Duration;

use identity::Caller;
use stack::Stack;

use crate::benches::signer::Signer;
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
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(15))
            .build()?;
        Ok(Direct {
            http,
            url: stack.http_url("app-service", 1)?,
            assertion: Signer::of(dir)?.assertion(&Caller::anonymous())?,
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
