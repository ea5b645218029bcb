//! The storefront's aggregates, as `outbox restate` and `outbox check` go through them.

use anyhow::{bail, ensure};
use diesel_async::AsyncPgConnection;
use domain::ProductId;
use envelope::Fact;
use events::fact;
use outbox::{Aggregates, Table};
use uuid::Uuid;

use crate::models::{customer, order, product, stock};

/// All that is stored and published.
pub(crate) struct Storefront;

impl Aggregates for Storefront {
    const TABLES: &'static [Table] = &[
        Table {
            aggregate: "product",
            name: "product",
            id: "id",
        },
        Table {
            aggregate: "stock",
            name: "stock",
            id: "product_id",
        },
        Table {
            aggregate: "customer",
            name: "customer",
            id: "id",
        },
        Table {
            aggregate: "order",
            name: "orders",
            id: "id",
        },
    ];

    async fn restated_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        table: &Table,
        ids: &[Uuid],
    ) -> anyhow::Result<Vec<Fact>> {
        let facts: Vec<Fact> = match table.aggregate {
            "product" => product::find_all(conn, ids.iter().copied().map(ProductId))
                .await?
                .iter()
                .map(fact::product_restated)
                .collect(),
            "stock" => stock::find_all(conn, ids)
                .await?
                .iter()
                .map(fact::stock_restated)
                .collect(),
            "customer" => customer::find_all(conn, ids)
                .await?
                .iter()
                .map(fact::customer_restated)
                .collect(),
            "order" => order::find_all(conn, ids)
                .await?
                .iter()
                .map(fact::order_restated)
                .collect(),
            unknown => bail!("nobody knows how to restate a {unknown}"),
        };
        ensure!(
            facts.len() == ids.len(),
            "{} of {} rows that are locked are gone",
            ids.len().saturating_sub(facts.len()),
            ids.len()
        );
        Ok(facts)
    }
}
