//! What each part of the system holds, as the ledger compares it.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::bail;
use time::OffsetDateTime;
use uuid::Uuid;

/// A type of aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Customer,
    Product,
    Stock,
    Order,
}

impl Kind {
    /// As the envelope writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Customer => "customer",
            Kind::Product => "product",
            Kind::Stock => "stock",
            Kind::Order => "order",
        }
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(raw: &str) -> anyhow::Result<Kind> {
        Ok(match raw {
            "customer" => Kind::Customer,
            "product" => Kind::Product,
            "stock" => Kind::Stock,
            "order" => Kind::Order,
            _ => bail!("the ledger does not know aggregates of type {raw:?}"),
        })
    }
}

/// One aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aggregate {
    pub kind: Kind,
    pub id: Uuid,
}

/// What is known of one aggregate in each place.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The version of the row in the application's database; 0: there is no row.
    pub row: i64,
    pub outbox: Generations,
    pub audit: Generations,
    /// The last version that analytics saw; 0: none.
    pub analytics: i64,
}

/// The versions of one aggregate that a place holds, by generation: `outbox restate --after-restore` opens the next one, whose
/// versions are generation × 2^40 + 1, + 2 and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generations(pub BTreeMap<i64, Versions>);

impl Generations {
    /// The generation of a version, and its number within.
    pub fn split(version: i64) -> (i64, i64) {
        (version >> 40, version & ((1 << 40) - 1))
    }

    pub fn of(&self, generation: i64) -> Versions {
        self.0.get(&generation).copied().unwrap_or_default()
    }
}

/// The versions of one generation, numbered from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Rows, repetitions included.
    pub rows: i64,
    /// Distinct (version, event id).
    pub events: i64,
    /// Distinct versions.
    pub distinct: i64,
    /// The highest version; 0: none.
    pub last: i64,
    /// All distinct event ids in one number, independent of their order.
    pub fingerprint: i64,
}

/// The same sum from two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Recomputed from the application's orders.
    pub app: i64,
    /// As analytics folded it.
    pub analytics: i64,
}

/// A mail's state in the e-mail database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Pending, claimed or transmitting.
    Unfinished,
    Sent,
    Failed,
    Ambiguous,
}

impl FromStr for State {
    type Err = anyhow::Error;

    fn from_str(raw: &str) -> anyhow::Result<State> {
        Ok(match raw {
            "pending" | "claimed" | "transmitting" => State::Unfinished,
            "sent" => State::Sent,
            "failed" => State::Failed,
            "ambiguous" => State::Ambiguous,
            _ => bail!("the ledger does not know deliveries in state {raw:?}"),
        })
    }
}

/// One mail, by the event that asks for it and its template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mail {
    /// Whether the outbox holds the event.
    pub asked: bool,
    /// Delivery rows.
    pub deliveries: i64,
    /// Of the last delivery row.
    pub state: Option<State>,
    /// Messages with its Message-ID at the mail server.
    pub messages: i64,
}

/// A mail's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailKey {
    pub event: Uuid,
    pub template: String,
}

/// Everything that the ledger compares. Bounded by memory: about 200 bytes per aggregate and per mail.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How often everything has been restated after a restore.
    pub generation: i64,
    pub aggregates: BTreeMap<Aggregate, Seen>,
    /// Minor units by start of the quarter of an hour and currency.
    pub revenue: BTreeMap<(OffsetDateTime, String), Pair>,
    /// Units by start of the quarter of an hour and product.
    pub units: BTreeMap<(OffsetDateTime, Uuid), Pair>,
    pub mails: BTreeMap<MailKey, Mail>,
    /// Messages at the mail server whose Message-ID no delivery row has.
    pub foreign_messages: i64,
    /// Records in the audit log that are no envelope.
    pub undecodable: i64,
    /// Parked records by database.
    pub dead_letters: BTreeMap<&'static str, i64>,
}

impl Facts {
    /// The entry of an aggregate, made when it is new.
    pub fn seen(&mut self, kind: Kind, id: Uuid) -> &mut Seen {
        self.aggregates.entry(Aggregate { kind, id }).or_default()
    }

    /// The entry of a mail, made when it is new.
    pub fn mail(&mut self, event: Uuid, template: &str) -> &mut Mail {
        let template = template.to_owned();
        self.mails.entry(MailKey { event, template }).or_default()
    }
}
