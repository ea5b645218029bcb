use std::collections::HashMap;

use database::prepared;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, SingleValue, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use domain::{Currency, CustomerId, Money, MoneyError, Order, OrderId, OrderLine, ProductId, Quantity};
use futures_util::future::try_join;
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

#[diesel::declare_sql_function]
extern "SQL" {
    /// Its elements, a row each.
    fn unnest<T: SingleValue>(elements: Array<T>) -> T;
}

/// The order and its lines, one behind the other and without a wait between them.
pub(crate) async fn insert_in_txn(mut conn: &AsyncPgConnection, new: &Order) -> Result<(), Trouble> {
    let order = diesel::insert_into(orders::table)
        .values((
            orders::id.eq(new.id.0),
            orders::customer_id.eq(new.customer_id.0),
            orders::status.eq(new.status.as_str()),
            orders::currency.eq(new.total.currency().as_str()),
            orders::total_minor.eq(new.total.minor()),
            orders::placed_at.eq(new.placed_at),
            orders::version.eq(new.version.get()),
        ))
        .execute(&mut conn);
    let (mut products, mut quantities, mut prices) = (Vec::new(), Vec::new(), Vec::new());
    for line in &new.lines {
        products.push(line.product_id.0);
        quantities.push(line.quantity.get());
        prices.push(line.unit_price.minor());
    }
    // A list of values would be another statement for each number of lines, and would not be kept prepared.
    let lines = diesel::select((
        new.id.0.into_sql::<SqlUuid>(),
        unnest::<SqlUuid, _>(products),
        unnest::<BigInt, _>(quantities),
        unnest::<BigInt, _>(prices),
    ))
    .insert_into(order_line::table)
    .into_columns((
        order_line::order_id,
        order_line::product_id,
        order_line::quantity,
        order_line::unit_price_minor,
    ))
    .execute(&mut conn);
    try_join(order, lines).await?;
    Ok(())
}

/// Of an order that this transaction has locked.
pub(crate) async fn update_in_txn(conn: &mut AsyncPgConnection, next: &Order) -> Result<(), Trouble> {
    let update = diesel::update(orders::table.find(next.id.0)).set((
        orders::status.eq(next.status.as_str()),
        orders::paid_at.eq(next.paid_at),
        orders::shipped_at.eq(next.shipped_at),
        orders::cancelled_at.eq(next.cancelled_at),
        orders::reason.eq(next.reason.map(|reason| reason.as_str())),
        orders::version.eq(next.version.get()),
    ));
    prepared(update).execute(conn).await?;
    Ok(())
}

/// An order that is unpaid, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) placed_at: OffsetDateTime,
    pub(crate) id: OrderId,
}

/// Up to `limit` unpaid orders that were placed until `placed_until`, the oldest first, beginning after `after`.
pub(crate) async fn due(
    conn: &mut AsyncPgConnection,
    placed_until: OffsetDateTime,
    after: Option<Due>,
    limit: i64,
) -> Result<Vec<Due>, Trouble> {
    let mut query = orders::table
        // As text and not as a parameter, so that every plan may use the partial index.
        .filter(sql::<Bool>("status = 'placed'"))
        .filter(orders::placed_at.le(placed_until))
        .order((orders::placed_at, orders::id))
        .select((orders::placed_at, orders::id))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        let later = orders::placed_at
            .eq(after.placed_at)
            .and(orders::id.gt(after.id.0));
        query = query
            .filter(orders::placed_at.ge(after.placed_at))
            .filter(orders::placed_at.gt(after.placed_at).or(later));
    }
    let rows: Vec<(OffsetDateTime, Uuid)> = query.load(conn).await?;
    Ok(rows
        .into_iter()
        .map(|(placed_at, id)| Due {
            placed_at,
            id: OrderId(id),
        })
        .collect())
}

/// Like [`lock_in_txn`], of anybody's order; `None` also when somebody else holds it.
pub(crate) async fn lock_if_free_in_txn(
    conn: &mut AsyncPgConnection,
    id: OrderId,
) -> Result<Option<Order>, Trouble> {
    let row = orders::table
        .find(id.0)
        .select(Row::as_select())
        .for_no_key_update()
        .skip_locked()
        .first(conn)
        .await
        .optional()?;
    with_lines(conn, row).await
}

/// Up to `limit` orders of a customer, the newest first, beginning before `before`.
pub(crate) async fn list_of(
    conn: &mut AsyncPgConnection,
    customer: CustomerId,
    before: Option<OrderId>,
    limit: i64,
) -> Result<Vec<Order>, Trouble> {
    let mut query = orders::table
        .filter(orders::customer_id.eq(customer.0))
        .order(orders::id.desc())
        .select(Row::as_select())
        .limit(limit)
        .into_boxed();
    if let Some(before) = before {
        query = query.filter(orders::id.lt(before.0));
    }
    let rows: Vec<Row> = query.load(conn).await?;
    all_with_lines(conn, rows).await
}

/// Those that exist, in any order.
pub(crate) async fn find_all(conn: &mut AsyncPgConnection, ids: &[Uuid]) -> Result<Vec<Order>, Trouble> {
    let rows = orders::table
        .filter(orders::id.eq_any(ids))
        .select(Row::as_select())
        .load(conn)
        .await?;
    all_with_lines(conn, rows).await
}

async fn all_with_lines(conn: &mut AsyncPgConnection, rows: Vec<Row>) -> Result<Vec<Order>, Trouble> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let lines: Vec<(Uuid, LineRow)> = order_line::table
        .filter(order_line::order_id.eq_any(ids))
        .order((order_line::order_id, order_line::product_id))
        .select((order_line::order_id, LineRow::as_select()))
        .load(conn)
        .await?;
    let mut by_order: HashMap<Uuid, Vec<LineRow>> = HashMap::new();
    for (order, line) in lines {
        by_order.entry(order).or_default().push(line);
    }
    rows.into_iter()
        .map(|row| {
            let lines = by_order.remove(&row.id).unwrap_or_default();
            Order::try_from(Rows { order: row, lines })
        })
        .collect()
}
