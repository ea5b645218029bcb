use database::prepared;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use domain::{Currency, Money, MoneyError, Product, ProductId, ProductStatus, Sku};
use uuid::Uuid;

use super::{corrupt, version};
use crate::schema::product;
use crate::trouble::Trouble;

#[derive(Queryable, Selectable)]
#[diesel(table_name = product, check_for_backend(diesel::pg::Pg))]
struct Row {
    id: Uuid,
    sku: String,
    name: String,
    description: String,
    price_minor: i64,
    currency: String,
    status: String,
    availability: String,
    version: i64,
}

impl TryFrom<Row> for Product {
    type Error = Trouble;

    fn try_from(row: Row) -> Result<Product, Trouble> {
        let corrupt = corrupt("product");
        let price = |minor, currency: &str| -> Result<Money, MoneyError> {
            Money::new(minor, currency.parse::<Currency>()?)
        };
        Ok(Product {
            id: ProductId(row.id),
            sku: Sku::parse(&row.sku).map_err(|why| corrupt(&why))?,
            name: row.name,
            description: row.description,
            price: price(row.price_minor, &row.currency).map_err(|why| corrupt(&why))?,
            status: row.status.parse().map_err(|why| corrupt(&why))?,
            availability: row.availability.parse().map_err(|why| corrupt(&why))?,
            version: version("product", row.version)?,
        })
    }
}

pub(crate) async fn find(conn: &mut AsyncPgConnection, id: ProductId) -> Result<Option<Product>, Trouble> {
    let row = product::table
        .find(id.0)
        .select(Row::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(Product::try_from).transpose()
}

/// Those that exist, in any order.
pub(crate) async fn find_all(
    mut conn: &AsyncPgConnection,
    ids: impl Iterator<Item = ProductId>,
) -> Result<Vec<Product>, Trouble> {
    let ids: Vec<Uuid> = ids.map(|id| id.0).collect();
    let rows = product::table
        .filter(product::id.eq_any(ids))
        .select(Row::as_select())
        .load(&mut conn)
        .await?;
    rows.into_iter().map(Product::try_from).collect()
}

/// Up to `limit` products by id, beginning after `after`; those of one status, or all.
pub(crate) async fn list(
    conn: &mut AsyncPgConnection,
    status: Option<ProductStatus>,
    after: Option<ProductId>,
    limit: i64,
) -> Result<Vec<Product>, Trouble> {
    let mut query = product::table
        .select(Row::as_select())
        .order(product::id)
        .limit(limit)
        .into_boxed();
    if let Some(status) = status {
        query = query.filter(product::status.eq(status.as_str()));
    }
    if let Some(after) = after {
        query = query.filter(product::id.gt(after.0));
    }
    let rows = query.load(conn).await?;
    rows.into_iter().map(Product::try_from).collect()
}

/// The ids of the first products by id; those of one status, or all.
pub(crate) async fn first_ids(
    conn: &mut AsyncPgConnection,
    status: Option<ProductStatus>,
    limit: i64,
) -> Result<Vec<ProductId>, Trouble> {
    let mut query = product::table
        .select(product::id)
        .order(product::id)
        .limit(limit)
        .into_boxed();
    if let Some(status) = status {
        query = query.filter(product::status.eq(status.as_str()));
    }
    let ids: Vec<Uuid> = query.load(conn).await?;
    Ok(ids.into_iter().map(ProductId).collect())
}

/// `None` when there is none. Not FOR UPDATE, which would also block the foreign keys of new orders' lines.
pub(crate) async fn lock_in_txn(
    conn: &mut AsyncPgConnection,
    id: ProductId,
) -> Result<Option<Product>, Trouble> {
    let row = product::table
        .find(id.0)
        .select(Row::as_select())
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    row.map(Product::try_from).transpose()
}

/// `false`, and nothing inserted, when the sku is taken.
pub(crate) async fn insert_in_txn(conn: &mut AsyncPgConnection, new: &Product) -> Result<bool, Trouble> {
    let inserted = diesel::insert_into(product::table)
        .values((
            product::id.eq(new.id.0),
            product::sku.eq(new.sku.as_str()),
            product::name.eq(&new.name),
            product::description.eq(&new.description),
            product::price_minor.eq(new.price.minor()),
            product::currency.eq(new.price.currency().as_str()),
            product::status.eq(new.status.as_str()),
            product::availability.eq(new.availability.as_str()),
            product::version.eq(new.version.get()),
        ))
        .on_conflict(product::sku)
        .do_nothing()
        .execute(conn)
        .await?;
    Ok(inserted == 1)
}

/// Of a product that this transaction has locked.
pub(crate) async fn update_in_txn(conn: &mut AsyncPgConnection, next: &Product) -> Result<(), Trouble> {
    let update = diesel::update(product::table.find(next.id.0)).set((
        product::name.eq(&next.name),
        product::description.eq(&next.description),
        product::price_minor.eq(next.price.minor()),
        product::status.eq(next.status.as_str()),
        product::availability.eq(next.availability.as_str()),
        product::version.eq(next.version.get()),
    ));
    prepared(update).execute(conn).await?;
    Ok(())
}
