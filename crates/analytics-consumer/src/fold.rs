//! What an order contributes to the buckets: a pure function of its latest state.
//!
//! Storing a new state adds `new.minus(&stored)` to the buckets. Because that difference depends on the two states alone, every order
//! of arrival, with any repetition and any gap, ends with the contribution of the latest state.

use std::collections::BTreeMap;

use events::Order;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Length of a bucket.
pub const BUCKET_SECONDS: i64 = 15 * 60;

/// One number that orders add up to; sorted, so that every transaction writes cells in the same order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Minor units.
    Revenue {
        bucket_start: OffsetDateTime,
        currency: String,
    },
    /// Pieces.
    Units {
        bucket_start: OffsetDateTime,
        product_id: Uuid,
    },
}

/// Amounts by cell; a cell of zero is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution(BTreeMap<Cell, i64>);

/// A sum that no 64-bit number holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sum does not fit into 64 bits")]
pub struct Overflow;

impl Contribution {
    /// Nothing before it is paid, and nothing if it expires; then its total and units in the bucket of `paid_at`, which a shipment does not
    /// change; once cancelled, the same amounts with the sign reversed in the bucket of `cancelled_at` besides, because what a past bucket
    /// said must stay true.
    pub fn of(order: &Order) -> Result<Contribution, Overflow> {
        let mut contribution = Contribution::default();
        if let Some(paid_at) = order.paid_at {
            contribution.add_order(order, bucket(paid_at), 1)?;
            if let Some(cancelled_at) = order.cancelled_at {
                contribution.add_order(order, bucket(cancelled_at), -1)?;
            }
        }
        Ok(contribution)
    }

    fn add_order(&mut self, order: &Order, bucket_start: OffsetDateTime, sign: i64) -> Result<(), Overflow> {
        let revenue = Cell::Revenue {
            bucket_start,
            currency: order.currency.clone(),
        };
        self.add(revenue, order.total_minor, sign)?;
        for line in &order.lines {
            let units = Cell::Units {
                bucket_start,
                product_id: line.product_id,
            };
            self.add(units, line.quantity, sign)?;
        }
        Ok(())
    }

    fn add(&mut self, cell: Cell, amount: i64, sign: i64) -> Result<(), Overflow> {
        let sum = self.0.get(&cell).copied().unwrap_or(0);
        let signed = amount.checked_mul(sign).ok_or(Overflow)?;
        match sum.checked_add(signed).ok_or(Overflow)? {
            0 => self.0.remove(&cell),
            sum => self.0.insert(cell, sum),
        };
        Ok(())
    }

    /// Adds all of `other`.
    pub fn plus(mut self, other: &Contribution) -> Result<Contribution, Overflow> {
        for (cell, amount) in &other.0 {
            self.add(cell.clone(), *amount, 1)?;
        }
        Ok(self)
    }

    /// What must be added to `stored` to get `self`.
    pub fn minus(mut self, stored: &Contribution) -> Result<Contribution, Overflow> {
        for (cell, amount) in &stored.0 {
            self.add(cell.clone(), *amount, -1)?;
        }
        Ok(self)
    }

    pub fn cells(&self) -> impl Iterator<Item = (&Cell, i64)> {
        self.0.iter().map(|(cell, amount)| (cell, *amount))
    }
}

/// Start of the bucket that `at` falls into, in UTC.
fn bucket(at: OffsetDateTime) -> OffsetDateTime {
    let seconds = at.unix_timestamp();
    OffsetDateTime::from_unix_timestamp(seconds - seconds.rem_euclid(BUCKET_SECONDS))
        .expect("the year is at least 0, as RFC 3339 has it, and time begins at -9999")
}

/// A contribution as `order_seen` stores it.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    revenue: Vec<StoredRevenue>,
    units: Vec<StoredUnits>,
}

#[derive(Serialize, Deserialize)]
struct StoredRevenue {
    #[serde(with = "time::serde::rfc3339")]
    bucket_start: OffsetDateTime,
    currency: String,
    minor: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredUnits {
    #[serde(with = "time::serde::rfc3339")]
    bucket_start: OffsetDateTime,
    product_id: Uuid,
    units: i64,
}

impl Serialize for Contribution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stored = Stored::default();
        for (cell, amount) in self.0.clone() {
            match cell {
                Cell::Revenue {
                    bucket_start,
                    currency,
                } => stored.revenue.push(StoredRevenue {
                    bucket_start,
                    currency,
                    minor: amount,
                }),
                Cell::Units {
                    bucket_start,
                    product_id,
                } => stored.units.push(StoredUnits {
                    bucket_start,
                    product_id,
                    units: amount,
                }),
            }
        }
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Contribution {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Contribution, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let revenue = stored.revenue.into_iter().map(|r| {
            let StoredRevenue {
                bucket_start,
                currency,
                minor,
            } = r;
            (
                Cell::Revenue {
                    bucket_start,
                    currency,
                },
                minor,
            )
        });
        let units = stored.units.into_iter().map(|u| {
            let StoredUnits {
                bucket_start,
                product_id,
                units,
            } = u;
            (
                Cell::Units {
                    bucket_start,
                    product_id,
                },
                units,
            )
        });
        Ok(Contribution(revenue.chain(units).collect()))
    }
}
