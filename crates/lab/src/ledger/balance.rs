//! What the ledger found, and whether everything balances. `compare` fills it in.

use std::collections::BTreeMap;

use serde::Serialize;

/// What the ledger found. Everything but `beside` and the counts of what exists must be zero.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Balance {
    /// Aggregates in the application's database.
    pub aggregates: i64,
    /// Their committed versions.
    pub versions: i64,
    pub outbox: Place,
    pub audit: Place,
    pub analytics: Place,
    /// By currency, in minor units.
    pub revenue: BTreeMap<String, Sum>,
    pub units: Sum,
    pub mails: Mails,
    pub beside: Beside,
    /// The first differences, in words.
    pub findings: Vec<String>,
}

/// How the versions in one place differ from the application's rows.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Place {
    /// Committed versions that are not there.
    pub lost: i64,
    /// Versions that were never committed.
    pub ghosts: i64,
    /// Facts beyond one per version. Repetitions of the same fact do not count: delivery is at least once.
    pub doubled: i64,
}

/// A sum from two places.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sum {
    pub app: i64,
    pub analytics: i64,
    /// The differences of all buckets without their signs, so that two errors don't cancel out.
    pub difference: i64,
}

/// Mails: what was asked for, what was recorded and what reached the mail server.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Mails {
    /// Events that ask for a mail.
    pub asked: i64,
    /// Delivery rows that say that the server accepted the mail.
    pub sent: i64,
    /// Events without a delivery row, and mails recorded as sent that the server does not have.
    pub missing: i64,
    /// Delivery rows beyond one per event, and messages beyond one per Message-ID.
    pub doubled: i64,
    /// Delivery rows without an event, and messages without a delivery row.
    pub ghosts: i64,
    /// Mails of which nobody knows whether the server accepted them, because the sender died in between. Never sent again.
    pub ambiguous: i64,
    /// Mails that the server refused.
    pub failed: i64,
}

/// What is counted and may be anything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Beside {
    /// Records that the log holds more than once.
    pub duplicates: i64,
    /// Records that are no envelope.
    pub undecodable: i64,
    /// Versions that only the log knows, from before the database was restored to an earlier moment.
    pub lost_future: i64,
    /// Parked records by database; each of them is missing somewhere, so these must be zero, too.
    pub dead_letters: BTreeMap<&'static str, i64>,
}

impl Balance {
    /// Whether nothing was lost, doubled or invented.
    pub fn balances(&self) -> bool {
        let places = [self.outbox, self.audit, self.analytics];
        let sums = self.revenue.values().chain([&self.units]);
        let mails = &self.mails;
        places
            .iter()
            .all(|place| place.lost == 0 && place.ghosts == 0 && place.doubled == 0)
            && sums.into_iter().all(|sum| sum.difference == 0)
            && mails.missing == 0
            && mails.doubled == 0
            && mails.ghosts == 0
            && self.beside.dead_letters.values().all(|parked| *parked == 0)
    }

    /// Committed versions, stated facts and mails that are missing somewhere.
    pub fn lost(&self) -> i64 {
        self.outbox.lost + self.audit.lost + self.analytics.lost + self.mails.missing
    }

    /// Facts and mails beyond one.
    pub fn doubled(&self) -> i64 {
        self.outbox.doubled + self.audit.doubled + self.analytics.doubled + self.mails.doubled
    }
}

impl Place {
    pub(super) fn add(&mut self, other: Place) {
        self.lost += other.lost;
        self.ghosts += other.ghosts;
        self.doubled += other.doubled;
    }

    pub(super) fn is_clean(self) -> bool {
        self.lost == 0 && self.ghosts == 0 && self.doubled == 0
    }
}

impl Sum {
    pub(super) fn add(&mut self, app: i64, analytics: i64) -> i64 {
        self.app += app;
        self.analytics += analytics;
        self.difference += (analytics - app).abs();
        analytics - app
    }
}
