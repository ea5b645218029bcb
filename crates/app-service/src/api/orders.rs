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

use crate::answer::Answer;

/// An order, as all of its endpoints answer with it.
#[derive(Serialize)]
pub(crate) struct OrderBody {
    id: OrderId,
    customer_id: CustomerId,
    /// `placed`, `paid`, `shipped` or `cancelled`.
    status: &'static str,
    /// ISO 4217.
    currency: String,
    total_minor: i64,
    /// By product id.
    lines: Vec<LineBody>,
    #[serde(with = "rfc3339")]
    placed_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    paid_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    shipped_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    cancelled_at: Option<OffsetDateTime>,
    /// Why it was cancelled: `customer`, or `expired` when nobody paid in time.
    reason: Option<&'static str>,
    version: i64,
}

#[derive(Serialize)]
struct LineBody {
    product_id: ProductId,
    quantity: i64,
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
