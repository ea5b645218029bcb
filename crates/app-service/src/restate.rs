//! The storefront's aggregates, as `outbox restate` and `outbox check` go through them.

use anyhow::Context as _;
use diesel_async::AsyncPgConnection;
use domain::{CustomerId, OrderId, ProductId};
use envelope::Fact;
use events::fact;
use outbox::{Aggregates, Table};
use uuid::Uuid;

use crate::models::customer::Reach;
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
        let mut facts = Vec::with_capacity(ids.len());
        for id in ids.iter().copied() {
            let found = match table.aggregate {
                "product" => product::find(conn, ProductId(id))
                    .await?
                    .map(|it| fact::product_restated(&it)),
                "stock" => stock::find(conn, ProductId(id))
                    .await?
                    .map(|it| fact::stock_restated(&it)),
                "customer" => customer::find(conn, CustomerId(id), Reach::Any)
                    .await?
                    .map(|it| fact::customer_restated(&it)),
                _ => order::find(conn, OrderId(id), Reach::Any)
                    .await?
                    .map(|it| fact::order_restated(&it)),
            };
            facts.push(found.context("a row that is locked can't be gone")?);
        }
        Ok(facts)
    }
}
