//! `plumbline.orders.v1`.

use envelope::Fact;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{SCHEMA_VERSION, json, topics};

/// An order's state after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: Uuid,
    pub customer_id: Uuid,
    pub status: OrderStatus,
    /// ISO 4217.
    pub currency: String,
    pub total_minor: i64,
    /// Sorted by product id.
    pub lines: Vec<OrderLine>,
    #[serde(with = "time::serde::rfc3339")]
    pub placed_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub paid_at: Option<OffsetDateTime>,
    /// Came after the other times: left out while there is none, so that what was written before stays as it was.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub shipped_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub cancelled_at: Option<OffsetDateTime>,
    /// Why it was cancelled: `customer`, or `expired` when nobody paid in time.
    #[serde(default)]
    pub reason: Option<String>,
    pub version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Placed,
    Paid,
    Shipped,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub product_id: Uuid,
    pub quantity: i64,
    pub unit_price_minor: i64,
}

pub(crate) const PLACED: &str = "plumbline.order.placed";
pub(crate) const PAID: &str = "plumbline.order.paid";
pub(crate) const SHIPPED: &str = "plumbline.order.shipped";
pub(crate) const CANCELLED: &str = "plumbline.order.cancelled";
pub(crate) const RESTATED: &str = "plumbline.order.restated";

pub fn order_placed(order: &domain::Order) -> Fact {
    order_fact(PLACED, order)
}

pub fn order_paid(order: &domain::Order) -> Fact {
    order_fact(PAID, order)
}

pub fn order_shipped(order: &domain::Order) -> Fact {
    order_fact(SHIPPED, order)
}

/// Also when it expired; `reason` says which.
pub fn order_cancelled(order: &domain::Order) -> Fact {
    order_fact(CANCELLED, order)
}

/// The state, in whichever it is.
pub fn order_restated(order: &domain::Order) -> Fact {
    order_fact(RESTATED, order)
}

fn order_fact(kind: &'static str, order: &domain::Order) -> Fact {
    let lines = order.lines.iter().map(|line| OrderLine {
        product_id: line.product_id.0,
        quantity: line.quantity.get(),
        unit_price_minor: line.unit_price.minor(),
    });
    let payload = Order {
        id: order.id.0,
        customer_id: order.customer_id.0,
        status: match order.status {
            domain::OrderStatus::Placed => OrderStatus::Placed,
            domain::OrderStatus::Paid => OrderStatus::Paid,
            domain::OrderStatus::Shipped => OrderStatus::Shipped,
            domain::OrderStatus::Cancelled => OrderStatus::Cancelled,
        },
        currency: order.total.currency().to_string(),
        total_minor: order.total.minor(),
        lines: lines.collect(),
        placed_at: order.placed_at,
        paid_at: order.paid_at,
        shipped_at: order.shipped_at,
        cancelled_at: order.cancelled_at,
        reason: order.reason.map(|reason| reason.as_str().to_owned()),
        version: order.version.get(),
    };
    Fact {
        topic: topics::ORDERS,
        kind,
        schema_version: SCHEMA_VERSION,
        aggregate_type: "order",
        aggregate_id: order.id.0,
        aggregate_version: order.version.get(),
        payload: json(&payload),
    }
}
