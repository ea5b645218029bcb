//! A batch of events into the tables, in the order: versions, orders, buckets.

use std::collections::BTreeMap;

use anyhow::Context as _;
use consumer::{ApplyError, Handler, Record};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::Order;
use serde_json::Value;
use uuid::Uuid;

use crate::event::Fact;
use crate::fold::{Cell, Contribution, Overflow};
use crate::schema::{entity_version, order_seen, revenue_bucket, units_bucket};

/// Applies the storefront's events to the analytics database.
pub struct Sales;

impl Handler for Sales {
    type Event = Fact;

    async fn apply_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        batch: &[Record<Fact>],
    ) -> Result<(), ApplyError> {
        let Some(first) = batch.first() else {
            return Ok(());
        };
        raise_versions_in_txn(conn, batch).await?;
        let difference = take_orders_in_txn(conn, latest_orders(batch)).await?;
        add_to_buckets_in_txn(conn, first.raw.partition, &difference).await?;
        Ok(())
    }
}

async fn raise_versions_in_txn(conn: &mut AsyncPgConnection, batch: &[Record<Fact>]) -> QueryResult<()> {
    // For `DO UPDATE … WHERE`; elsewhere its name collides with the one of queries.
    use diesel::query_dsl::methods::FilterDsl as _;

    let mut versions: BTreeMap<(&str, Uuid), i64> = BTreeMap::new();
    for Record { event: fact, .. } in batch {
        let version = versions
            .entry((&fact.aggregate_type, fact.aggregate_id))
            .or_default();
        *version = (*version).max(fact.version);
    }
    let rows: Vec<_> = versions
        .into_iter()
        .map(|((aggregate_type, aggregate_id), version)| {
            (
                entity_version::aggregate_type.eq(aggregate_type),
                entity_version::aggregate_id.eq(aggregate_id),
                entity_version::version.eq(version),
            )
        })
        .collect();
    diesel::insert_into(entity_version::table)
        .values(rows)
        .on_conflict((entity_version::aggregate_type, entity_version::aggregate_id))
        .do_update()
        .set(entity_version::version.eq(excluded(entity_version::version)))
        .filter(entity_version::version.lt(excluded(entity_version::version)))
        .execute(conn)
        .await?;
    Ok(())
}

/// The latest state of each order in the batch, with its version.
fn latest_orders(batch: &[Record<Fact>]) -> BTreeMap<Uuid, (i64, &Order)> {
    let mut latest: BTreeMap<Uuid, (i64, &Order)> = BTreeMap::new();
    for Record { event: fact, .. } in batch {
        let Some(order) = fact.event.order() else { continue };
        let known = latest.entry(order.id).or_insert((fact.version, order));
        if known.0 < fact.version {
            *known = (fact.version, order);
        }
    }
    latest
}

/// Stores the states that are newer than those stored; returns what that changes in the buckets.
///
/// All versions of an order are in one partition, whose position this transaction holds locked: nobody else writes these rows.
async fn take_orders_in_txn(
    conn: &mut AsyncPgConnection,
    latest: BTreeMap<Uuid, (i64, &Order)>,
) -> Result<Contribution, ApplyError> {
    let stored: Vec<(Uuid, i64, Value)> = order_seen::table
        .filter(order_seen::order_id.eq_any(latest.keys()))
        .load(conn)
        .await?;
    let stored: BTreeMap<Uuid, (i64, Value)> = stored
        .into_iter()
        .map(|(id, version, contribution)| (id, (version, contribution)))
        .collect();

    let mut difference = Contribution::default();
    let mut rows = Vec::new();
    for (id, (version, order)) in latest {
        let before = match stored.get(&id) {
            Some((known, _)) if *known >= version => continue,
            Some((_, contribution)) => Contribution::deserialize_stored(contribution)?,
            None => Contribution::default(),
        };
        let after = Contribution::of(order).map_err(permanent)?;
        rows.push((
            order_seen::order_id.eq(id),
            order_seen::version.eq(version),
            order_seen::contribution.eq(after.to_stored()?),
        ));
        let change = after.minus(&before).map_err(permanent)?;
        difference = difference.plus(&change).map_err(permanent)?;
    }
    if !rows.is_empty() {
        diesel::insert_into(order_seen::table)
            .values(rows)
            .on_conflict(order_seen::order_id)
            .do_update()
            .set((
                order_seen::version.eq(excluded(order_seen::version)),
                order_seen::contribution.eq(excluded(order_seen::contribution)),
            ))
            .execute(conn)
            .await?;
    }
    Ok(difference)
}

fn permanent(overflow: Overflow) -> ApplyError {
    ApplyError::Permanent(overflow.to_string())
}

impl Contribution {
    fn deserialize_stored(stored: &Value) -> anyhow::Result<Contribution> {
        serde::Deserialize::deserialize(stored).context("order_seen holds an unreadable contribution")
    }

    fn to_stored(&self) -> anyhow::Result<Value> {
        serde_json::to_value(self).context("cannot serialise a contribution")
    }
}

async fn add_to_buckets_in_txn(
    conn: &mut AsyncPgConnection,
    partition: i32,
    difference: &Contribution,
) -> QueryResult<()> {
    let mut revenue = Vec::new();
    let mut units = Vec::new();
    for (cell, amount) in difference.cells() {
        match cell {
            Cell::Revenue {
                bucket_start,
                currency,
            } => revenue.push((
                revenue_bucket::bucket_start.eq(bucket_start),
                revenue_bucket::currency.eq(currency),
                revenue_bucket::partition.eq(partition),
                revenue_bucket::revenue_minor.eq(amount),
            )),
            Cell::Units {
                bucket_start,
                product_id,
            } => units.push((
                units_bucket::bucket_start.eq(bucket_start),
                units_bucket::product_id.eq(product_id),
                units_bucket::partition.eq(partition),
                units_bucket::units.eq(amount),
            )),
        }
    }
    if !revenue.is_empty() {
        diesel::insert_into(revenue_bucket::table)
            .values(revenue)
            .on_conflict((
                revenue_bucket::bucket_start,
                revenue_bucket::currency,
                revenue_bucket::partition,
            ))
            .do_update()
            .set(
                revenue_bucket::revenue_minor
                    .eq(revenue_bucket::revenue_minor + excluded(revenue_bucket::revenue_minor)),
            )
            .execute(conn)
            .await?;
    }
    if !units.is_empty() {
        diesel::insert_into(units_bucket::table)
            .values(units)
            .on_conflict((
                units_bucket::bucket_start,
                units_bucket::product_id,
                units_bucket::partition,
            ))
            .do_update()
            .set(units_bucket::units.eq(units_bucket::units + excluded(units_bucket::units)))
            .execute(conn)
            .await?;
    }
    Ok(())
}
