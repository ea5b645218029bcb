//! The messages at the mail server, through Mailpit's API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use uuid::Uuid;

/// Messages a page.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Listing {
    messages: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "MessageID")]
    message_id: String,
}

/// How many messages there are by Message-ID, and how many whose Message-ID is none of ours.
pub(crate) async fn messages(base: &str) -> anyhow::Result<(BTreeMap<Uuid, i64>, i64)> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()?;
    let mut ours = BTreeMap::new();
    let mut foreign = 0;
    // The newest come first, so a message that arrives meanwhile moves others onto the next page.
    let mut seen = BTreeSet::new();
    let mut start = 0;
    loop {
        let url = format!("{base}/api/v1/messages?start={start}&limit={PAGE}");
        let answer = client
            .get(url)
            .send()
            .await
            .context("the mail server does not answer")?;
        ensure!(
            answer.status().is_success(),
            "the mail server answers {}",
            answer.status()
        );
        let listing: Listing = answer
            .json()
            .await
            .context("the mail server's answer is not Mailpit's")?;
        if listing.messages.is_empty() {
            return Ok((ours, foreign));
        }
        start += listing.messages.len();
        for listed in listing.messages {
            if !seen.insert(listed.id) {
                continue;
            }
            match id_of(&listed.message_id) {
                Some(id) => *ours.entry(id).or_insert(0) += 1,
                None => foreign += 1,
            }
        }
    }
}

/// The UUID in `<UUID@host>`, with or without the brackets.
fn id_of(message_id: &str) -> Option<Uuid> {
    let (id, _) = message_id.trim_start_matches('<').split_once('@')?;
    Uuid::try_parse(id).ok()
}
