//! Orders and their histories, as facts and as records.

use analytics_consumer::{Fact, MIGRATIONS};
use consumer::{Raw, Record};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use envelope::{Envelope, Scratch};
use events::{Event, Order, OrderLine, OrderStatus};
use testkit::Database;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// 2026-01-01T00:00:00Z, the start of a bucket.
pub(crate) const START: i64 = 1_767_225_600;

pub(crate) fn at(minutes: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(START).unwrap() + Duration::minutes(minutes)
}

pub(crate) fn product(n: u128) -> Uuid {
    Uuid::from_u128(0xf00 + n)
}

/// `lines` are product numbers with quantities, at 100 minor units each.
pub(crate) fn placed(id: u128, currency: &str, lines: &[(u128, i64)]) -> Order {
    let lines: Vec<OrderLine> = lines
        .iter()
        .map(|(n, quantity)| OrderLine {
            product_id: product(*n),
            quantity: *quantity,
            unit_price_minor: 100,
        })
        .collect();
    Order {
        id: Uuid::from_u128(id),
        customer_id: Uuid::from_u128(1),
        status: OrderStatus::Placed,
        currency: currency.to_owned(),
        total_minor: lines.iter().map(|line| line.quantity * 100).sum(),
        lines,
        placed_at: at(0),
        paid_at: None,
        shipped_at: None,
        cancelled_at: None,
        reason: None,
        version: 1,
    }
}

pub(crate) fn paid(order: &Order, minutes: i64) -> Order {
    Order {
        status: OrderStatus::Paid,
        paid_at: Some(at(minutes)),
        version: order.version + 1,
        ..order.clone()
    }
}

pub(crate) fn shipped(order: &Order, minutes: i64) -> Order {
    Order {
        status: OrderStatus::Shipped,
        shipped_at: Some(at(minutes)),
        version: order.version + 1,
        ..order.clone()
    }
}

pub(crate) fn expired(order: &Order, minutes: i64) -> Order {
    Order {
        reason: Some("expired".to_owned()),
        ..cancelled(order, minutes)
    }
}

pub(crate) fn cancelled(order: &Order, minutes: i64) -> Order {
    Order {
        status: OrderStatus::Cancelled,
        cancelled_at: Some(at(minutes)),
        reason: Some("customer".to_owned()),
        version: order.version + 1,
        ..order.clone()
    }
}

pub(crate) fn fact(order: &Order) -> Fact {
    let event = match order.status {
        OrderStatus::Placed => Event::OrderPlaced(order.clone()),
        OrderStatus::Paid => Event::OrderPaid(order.clone()),
        OrderStatus::Shipped => Event::OrderShipped(order.clone()),
        OrderStatus::Cancelled => Event::OrderCancelled(order.clone()),
    };
    Fact {
        aggregate_type: "order".to_owned(),
        aggregate_id: order.id,
        version: order.version,
        event,
    }
}

/// As the runtime would hand it to the handler.
pub(crate) fn record(order: &Order, partition: i32) -> Record<Fact> {
    Record {
        raw: Raw {
            topic: "orders".to_owned(),
            partition,
            offset: 0,
            timestamp_ms: None,
            key: None,
            headers: Vec::new(),
            payload: None,
        },
        event: fact(order),
    }
}

/// As the relay would write it.
pub(crate) async fn publish(topic: &str, order: &Order, partition: i32) {
    let kind = match order.status {
        OrderStatus::Placed => "plumbline.order.placed",
        OrderStatus::Paid => "plumbline.order.paid",
        OrderStatus::Shipped => "plumbline.order.shipped",
        OrderStatus::Cancelled => "plumbline.order.cancelled",
    };
    let envelope = Envelope {
        id: Uuid::now_v7(),
        source: "test",
        kind,
        schema_version: 1,
        aggregate_type: "order",
        aggregate_id: order.id,
        aggregate_version: order.version,
        actor: "main:ada",
        time: at(0),
        traceparent: None,
    };
    let mut headers: Vec<(&str, Vec<u8>)> = Vec::new();
    envelope.write_headers(&mut Scratch::default(), |name, value| {
        headers.push((name, value.as_bytes().to_vec()));
    });
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_slice()))
        .collect();
    let payload = serde_json::to_vec(order).unwrap();
    testkit::produce(topic, order.id.to_string(), &headers, payload, Some(partition)).await;
}

/// What the views say, as text: `minutes after START, currency or product, amount`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) revenue: Vec<(i64, String, i64)>,
    pub(crate) units: Vec<(i64, Uuid, i64)>,
}

pub(crate) async fn totals(database: &Database) -> Totals {
    use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
    #[derive(diesel::QueryableByName)]
    struct Revenue {
        #[diesel(sql_type = BigInt)]
        start: i64,
        #[diesel(sql_type = Text)]
        currency: String,
        #[diesel(sql_type = BigInt)]
        minor: i64,
    }
    #[derive(diesel::QueryableByName)]
    struct Units {
        #[diesel(sql_type = BigInt)]
        start: i64,
        #[diesel(sql_type = SqlUuid)]
        product: Uuid,
        #[diesel(sql_type = BigInt)]
        units: i64,
    }
    let mut conn = database.connect().await;
    let revenue: Vec<Revenue> = diesel::sql_query(
        "SELECT extract(epoch FROM bucket_start)::bigint AS start, currency, revenue_minor AS minor FROM revenue ORDER BY 1, 2",
    )
    .load(&mut conn)
    .await
    .unwrap();
    let units: Vec<Units> = diesel::sql_query(
        "SELECT extract(epoch FROM bucket_start)::bigint AS start, product_id AS product, units FROM units ORDER BY 1, 2",
    )
    .load(&mut conn)
    .await
    .unwrap();
    Totals {
        revenue: revenue
            .into_iter()
            .map(|r| ((r.start - START) / 60, r.currency, r.minor))
            .collect(),
        units: units
            .into_iter()
            .map(|u| ((u.start - START) / 60, u.product, u.units))
            .collect(),
    }
}

pub(crate) async fn database() -> Database {
    Database::create("analytics", MIGRATIONS).await
}

pub(crate) async fn execute(database: &Database, sql: &str) {
    let mut owner = database::dedicated(&database.owner_url(), "test").await.unwrap();
    owner.batch_execute(sql).await.unwrap();
}
