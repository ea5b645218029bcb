use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use domain::{Currency, CustomerId, Money, MoneyError, Order, OrderId, OrderLine, ProductId, Quantity};
use time::OffsetDateTime;
use uuid::Uuid;

use super::customer::Reach;
use super::{corrupt, version};
use crate::schema::{customer, order_line, orders};
use crate::trouble::Trouble;

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(diesel::pg::Pg))]
struct Row {
    id: Uuid,
    customer_id: Uuid,
    status: String,
    currency: String,
    total_minor: i64,
    placed_at: OffsetDateTime,
    paid_at: Option<OffsetDateTime>,
    shipped_at: Option<OffsetDateTime>,
    cancelled_at: Option<OffsetDateTime>,
    reason: Option<String>,
    version: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = order_line, check_for_backend(diesel::pg::Pg))]
struct LineRow {
    product_id: Uuid,
    quantity: i64,
    unit_price_minor: i64,
}

struct Rows {
    order: Row,
    lines: Vec<LineRow>,
}

impl TryFrom<Rows> for Order {
    type Error = Trouble;

    fn try_from(Rows { order: row, lines }: Rows) -> Result<Order, Trouble> {
        let corrupt = corrupt("orders");
        let currency: Currency = row.currency.parse().map_err(|why: MoneyError| corrupt(&why))?;
        let money = |minor| Money::new(minor, currency).map_err(|why| corrupt(&why));
        let line = |line: LineRow| {
            let quantity = Quantity::new(line.quantity);
            Ok(OrderLine {
                product_id: ProductId(line.product_id),
                quantity: quantity.ok_or_else(|| corrupt(&"a line's quantity is out of range"))?,
                unit_price: money(line.unit_price_minor)?,
            })
        };
        let reason = row.reason.as_deref().map(str::parse).transpose();
        Ok(Order {
            id: OrderId(row.id),
            customer_id: CustomerId(row.customer_id),
            status: row.status.parse().map_err(|why| corrupt(&why))?,
            total: money(row.total_minor)?,
            lines: lines.into_iter().map(line).collect::<Result<_, Trouble>>()?,
            placed_at: row.placed_at,
            paid_at: row.paid_at,
            shipped_at: row.shipped_at,
            cancelled_at: row.cancelled_at,
            reason: reason.map_err(|why| corrupt(&why))?,
            version: version("orders", row.version)?,
        })
    }
}

/// `None` when there is none within `reach`.
pub(crate) async fn find(
    conn: &mut AsyncPgConnection,
    id: OrderId,
    reach: Reach<'_>,
) -> Result<Option<Order>, Trouble> {
    let (principal, any) = reach.parts();
    let owned = customer::table
        .filter(customer::principal.eq(principal))
        .select(customer::id);
    let row = orders::table
        .find(id.0)
        .filter(orders::customer_id.eq_any(owned).or(any.into_sql::<Bool>()))
        .select(Row::as_select())
        .first(conn)
        .await
        .optional()?;
    with_lines(conn, row).await
}

/// Like [`find`], and nobody else changes the order until this transaction ends.
pub(crate) async fn lock_in_txn(
    conn: &mut AsyncPgConnection,
    id: OrderId,
    reach: Reach<'_>,
) -> Result<Option<Order>, Trouble> {
    let (principal, any) = reach.parts();
    let owned = customer::table
        .filter(customer::principal.eq(principal))
        .select(customer::id);
    let row = orders::table
        .find(id.0)
        .filter(orders::customer_id.eq_any(owned).or(any.into_sql::<Bool>()))
        .select(Row::as_select())
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    with_lines(conn, row).await
}

async fn with_lines(conn: &mut AsyncPgConnection, row: Option<Row>) -> Result<Option<Order>, Trouble> {
    let Some(row) = row else { return Ok(None) };
    // A statement of its own sees the same lines: they never change.
    let lines = order_line::table
        .filter(order_line::order_id.eq(row.id))
        .order(order_line::product_id)
        .select(LineRow::as_select())
        .load(conn)
        .await?;
    Order::try_from(Rows { order: row, lines }).map(Some)
}

pub(crate) async fn insert_in_txn(conn: &mut AsyncPgConnection, new: &Order) -> Result<(), Trouble> {
    diesel::insert_into(orders::table)
        .values((
            orders::id.eq(new.id.0),
            orders::customer_id.eq(new.customer_id.0),
            orders::status.eq(new.status.as_str()),
            orders::currency.eq(new.total.currency().as_str()),
            orders::total_minor.eq(new.total.minor()),
            orders::placed_at.eq(new.placed_at),
            orders::version.eq(new.version.get()),
        ))
        .execute(conn)
        .await?;
    let lines: Vec<_> = new
        .lines
        .iter()
        .map(|line| {
            (
                order_line::order_id.eq(new.id.0),
                order_line::product_id.eq(line.product_id.0),
                order_line::quantity.eq(line.quantity.get()),
                order_line::unit_price_minor.eq(line.unit_price.minor()),
            )
        })
        .collect();
    diesel::insert_into(order_line::table)
        .values(lines)
        .execute(conn)
        .await?;
    Ok(())
}

/// Of an order that this transaction has locked.
pub(crate) async fn update_in_txn(conn: &mut AsyncPgConnection, next: &Order) -> Result<(), Trouble> {
    diesel::update(orders::table.find(next.id.0))
        .set((
            orders::status.eq(next.status.as_str()),
            orders::paid_at.eq(next.paid_at),
            orders::shipped_at.eq(next.shipped_at),
            orders::cancelled_at.eq(next.cancelled_at),
            orders::reason.eq(next.reason.map(|reason| reason.as_str())),
            orders::version.eq(next.version.get()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
