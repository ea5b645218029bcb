//! The ledger: what the parts of the system hold, against each other.
//!
//! For every aggregate the version of the row in the application's database is the number of distinct facts in the outbox and in the
//! audit log and the last version in analytics; every event that asks for a mail has one delivery row; revenue and units recomputed
//! from the orders are what analytics folded; and no Message-ID reached the mail server twice.

pub mod balance;
mod compare;
pub mod facts;
mod mail_server;
pub(crate) mod read;
pub(crate) mod settle;
pub mod sources;
mod table;

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ledger::balance::Balance;
use crate::ledger::settle::Behind;
use crate::ledger::sources::Sources;

/// How often it looks whether the consumers have caught up.
const POLL: Duration = Duration::from_millis(250);

/// How often it says what it waits for.
const SAY: Duration = Duration::from_secs(2);

/// What the ledger found, and whether the system stood still meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// Whether every committed fact had had its effects and nothing was committed while the databases were read. Otherwise differences
    /// may be work that is not done yet.
    pub settled: bool,
    /// What had not had its effects just before the databases were read.
    pub behind: Behind,
    pub balance: Balance,
}

/// What a ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Balanced,
    NotBalanced,
    /// The system did not stand still for long enough.
    CatchingUp,
}

impl Ledger {
    /// Waits until the consumers have caught up, for at most `limit`, and compares everything.
    pub async fn read(sources: &Sources, limit: Duration) -> anyhow::Result<Ledger> {
        let deadline = Instant::now() + limit;
        let mut said = Instant::now();
        let mut app = sources.connect("app").await?;
        loop {
            let before = settle::newest(&mut app).await?;
            let behind = settle::behind(sources).await?;
            let late = Instant::now() >= deadline;
            if !behind.is_nothing() && !late {
                if said.elapsed() > SAY {
                    said = Instant::now();
                    tracing::info!("catching up: {behind}");
                }
                tokio::time::sleep(POLL).await;
                continue;
            }
            let facts = read::facts(sources).await?;
            let settled = behind.is_nothing() && before == settle::newest(&mut app).await?;
            if settled || late {
                return Ok(Ledger {
                    settled,
                    behind,
                    balance: Balance::of(&facts),
                });
            }
        }
    }

    /// What it says in a word.
    pub fn verdict(&self) -> Verdict {
        match (self.settled, self.balance.balances()) {
            (false, _) => Verdict::CatchingUp,
            (true, true) => Verdict::Balanced,
            (true, false) => Verdict::NotBalanced,
        }
    }
}
