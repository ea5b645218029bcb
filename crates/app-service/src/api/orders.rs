//! `/v1/orders`.

pub(crate) mod cancel;
pub(crate) mod get;
pub(crate) mod pay;
pub(crate) mod place;
pub(crate) mod ship;

use domain::{CustomerId, Order, OrderId, OrderLine, ProductId};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::shape;

/// An order, as all of its endpoints answer with it.
#[derive(Serialize, ToSchema)]
#[schema(as = Order, example = json!({
    "id": "0198c5b7-6f00-7c3e-8f5b-1f3c7a9d2e10", "customer_id": "0198c5b7-6a00-7b1d-8c3a-2d4e6f8a0b1c", "status": "paid",
    "currency": "EUR", "total_minor": 2500,
    "lines": [{"product_id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "quantity": 2, "unit_price_minor": 1250}],
    "placed_at": "2026-11-23T15:38:03.331614Z", "paid_at": "2026-11-23T15:38:03.571962Z", "shipped_at": null, "cancelled_at": null,
    "reason": null, "version": 2
}))]
pub(crate) struct OrderBody {
    #[schema(schema_with = shape::id)]
    id: OrderId,
    #[schema(schema_with = shape::id)]
    customer_id: CustomerId,
    #[schema(schema_with = shape::order_status)]
    status: &'static str,
    #[schema(schema_with = shape::currency)]
    currency: String,
    #[schema(schema_with = shape::price_minor)]
    total_minor: i64,
    /// By product id.
    #[schema(min_items = 1, max_items = 20)]
    lines: Vec<LineBody>,
    #[serde(with = "rfc3339")]
    #[schema(schema_with = shape::moment)]
    placed_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    #[schema(schema_with = shape::moment_or_null, required)]
    paid_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    #[schema(schema_with = shape::moment_or_null, required)]
    shipped_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    #[schema(schema_with = shape::moment_or_null, required)]
    cancelled_at: Option<OffsetDateTime>,
    /// Why it was cancelled: `customer`, or `expired` when nobody paid in time.
    #[schema(schema_with = shape::reason, required)]
    reason: Option<&'static str>,
    #[schema(schema_with = shape::version)]
    version: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OrderLine)]
struct LineBody {
    #[schema(schema_with = shape::id)]
    product_id: ProductId,
    #[schema(schema_with = shape::wanted)]
    quantity: i64,
    /// When the order was placed; a change of the product's price does not reach it.
    #[schema(schema_with = shape::price_minor)]
    unit_price_minor: i64,
}

impl OrderBody {
    pub(crate) fn of(order: &Order) -> OrderBody {
        let line = |line: &OrderLine| LineBody {
            product_id: line.product_id,
            quantity: line.quantity.get(),
            unit_price_minor: line.unit_price.minor(),
        };
        OrderBody {
            id: order.id,
            customer_id: order.customer_id,
            status: order.status.as_str(),
            currency: order.total.currency().to_string(),
            total_minor: order.total.minor(),
            lines: order.lines.iter().map(line).collect(),
            placed_at: order.placed_at,
            paid_at: order.paid_at,
            shipped_at: order.shipped_at,
            cancelled_at: order.cancelled_at,
            reason: order.reason.map(|reason| reason.as_str()),
            version: order.version.get(),
        }
    }
}

fn answer(order: &Order) -> Answer {
    Answer::ok(&OrderBody::of(order)).version(order.version)
}
