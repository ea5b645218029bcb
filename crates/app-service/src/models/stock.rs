use database::prepared;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use domain::{ProductId, Quantity, Stock};
use uuid::Uuid;

use super::version;
use crate::schema::stock;
use crate::trouble::Trouble;

#[derive(Queryable, Selectable)]
#[diesel(table_name = stock, check_for_backend(diesel::pg::Pg))]
struct Row {
    product_id: Uuid,
    quantity: i64,
    version: i64,
}

impl TryFrom<Row> for Stock {
    type Error = Trouble;

    fn try_from(row: Row) -> Result<Stock, Trouble> {
        Ok(Stock {
            product_id: ProductId(row.product_id),
            quantity: row.quantity,
            version: version("stock", row.version)?,
        })
    }
}

pub(crate) async fn find(conn: &mut AsyncPgConnection, id: ProductId) -> Result<Option<Stock>, Trouble> {
    let row = stock::table
        .find(id.0)
        .select(Row::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(Stock::try_from).transpose()
}

/// Those of the products `ids` that exist, in any order.
pub(crate) async fn find_all(conn: &mut AsyncPgConnection, ids: &[Uuid]) -> Result<Vec<Stock>, Trouble> {
    let rows = stock::table
        .filter(stock::product_id.eq_any(ids))
        .select(Row::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(Stock::try_from).collect()
}

pub(crate) async fn lock_in_txn(
    conn: &mut AsyncPgConnection,
    id: ProductId,
) -> Result<Option<Stock>, Trouble> {
    let row = stock::table
        .find(id.0)
        .select(Row::as_select())
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    row.map(Stock::try_from).transpose()
}

pub(crate) async fn insert_in_txn(conn: &mut AsyncPgConnection, new: &Stock) -> Result<(), Trouble> {
    diesel::insert_into(stock::table)
        .values((
            stock::product_id.eq(new.product_id.0),
            stock::quantity.eq(new.quantity),
            stock::version.eq(new.version.get()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Of a stock that this transaction has locked.
pub(crate) async fn update_in_txn(conn: &mut AsyncPgConnection, next: &Stock) -> Result<(), Trouble> {
    let update = diesel::update(stock::table.find(next.product_id.0)).set((
        stock::quantity.eq(next.quantity),
        stock::version.eq(next.version.get()),
    ));
    prepared(update).execute(conn).await?;
    Ok(())
}

/// Takes `wanted` out and returns what is left; `None`, and nothing taken, when there is less, or no such product. The
/// condition is checked on the row as it is once its lock is held, so no sale is based on an older quantity.
pub(crate) async fn take_in_txn(
    mut conn: &AsyncPgConnection,
    id: ProductId,
    wanted: Quantity,
) -> Result<Option<Stock>, Trouble> {
    let update = diesel::update(stock::table.find(id.0).filter(stock::quantity.ge(wanted.get())))
        .set((
            stock::quantity.eq(stock::quantity - wanted.get()),
            stock::version.eq(stock::version + 1),
        ))
        .returning(Row::as_select());
    let row = prepared(update).get_result(&mut conn).await.optional()?;
    row.map(Stock::try_from).transpose()
}

/// Puts goods back and returns what is there. The limit of adjustments does not hold here: they were there before.
pub(crate) async fn put_back_in_txn(
    conn: &mut AsyncPgConnection,
    id: ProductId,
    returned: Quantity,
) -> Result<Stock, Trouble> {
    let update = diesel::update(stock::table.find(id.0))
        .set((
            stock::quantity.eq(stock::quantity + returned.get()),
            stock::version.eq(stock::version + 1),
        ))
        .returning(Row::as_select());
    prepared(update).get_result::<Row>(conn).await?.try_into()
}
