use domain::{
    Availability, Customer, CustomerId, EmailAddress, Money, Order, OrderId, PersonName, Product,
    ProductEdit, ProductId, ProductStatus, Quantity, Selection, Sku, Stock, Version,
};
use envelope::Fact;
use events::{DecodeError, Event, StockCause, decode, fact};
use std::time::Duration;
use time::macros::datetime;
use uuid::Uuid;

fn product() -> Product {
    Product {
        id: ProductId(Uuid::from_u128(1)),
        sku: Sku::parse("MUG-01").unwrap(),
        name: "Blue mug".into(),
        description: "0.3 l".into(),
        price: Money::new(1_250, "EUR".parse().unwrap()).unwrap(),
        status: ProductStatus::Active,
        availability: Availability::InStock,
        version: Version::FIRST,
    }
}

fn placed() -> Order {
    let selection = Selection {
        product_id: ProductId(Uuid::from_u128(1)),
        quantity: Quantity::new(2).unwrap(),
    };
    let customer = CustomerId(Uuid::from_u128(2));
    let at = datetime!(2026-01-01 00:00:00.25 UTC);
    Order::place(
        OrderId(Uuid::from_u128(3)),
        customer,
        &[selection],
        &[product()],
        at,
    )
    .unwrap()
}

fn facts() -> Vec<Fact> {
    let before = product();
    let edit = ProductEdit {
        price_minor: Some(990),
        ..ProductEdit::default()
    };
    let after = before.edit(edit).unwrap().unwrap();
    let stock = Stock {
        product_id: before.id,
        quantity: 10,
        version: Version::FIRST,
    };
    let paid = placed().pay(datetime!(2026-01-01 00:05 UTC)).unwrap();
    let cancelled = paid.cancel(datetime!(2026-01-01 01:00 UTC)).unwrap();
    let shipped = paid.ship(datetime!(2026-01-02 09:30 UTC)).unwrap();
    let expired = placed()
        .expire(Duration::from_secs(1_800), datetime!(2026-01-01 00:30:01 UTC))
        .unwrap();
    let end = ProductEdit {
        status: Some(ProductStatus::Discontinued),
        ..ProductEdit::default()
    };
    let discontinued = after.edit(end).unwrap().unwrap();
    let customer = Customer::register(
        CustomerId(Uuid::from_u128(2)),
        "main:alice".into(),
        EmailAddress::parse("alice@example.com").unwrap(),
        PersonName::parse("Alice").unwrap(),
    );
    vec![
        fact::customer_registered(&customer),
        fact::product_created(&before),
        fact::product_changed(&before, &after),
        fact::stock_adjusted(10, &stock.adjust(-2).unwrap(), StockCause::Order),
        fact::order_placed(&placed()),
        fact::order_paid(&paid),
        fact::order_cancelled(&cancelled),
        fact::order_shipped(&shipped),
        fact::order_cancelled(&expired),
        fact::product_changed(&after, &discontinued),
        fact::stock_adjusted(8, &stock.adjust(-1).unwrap(), StockCause::Manual),
        fact::stock_adjusted(9, &stock.adjust(0).unwrap(), StockCause::Restock),
        fact::customer_restated(&customer),
        fact::product_restated(&after),
        fact::stock_restated(&stock),
        fact::order_restated(&shipped),
    ]
}

/// One line an event: `topic kind schema-version aggregate version payload`.
#[test]
fn what_is_written_stays_byte_for_byte_what_it_was() {
    let lines: Vec<String> = facts()
        .iter()
        .map(|fact| {
            let payload = std::str::from_utf8(&fact.payload).unwrap();
            format!(
                "{} {} {} {}/{} {} {payload}\n",
                fact.topic,
                fact.kind,
                fact.schema_version,
                fact.aggregate_type,
                fact.aggregate_id,
                fact.aggregate_version
            )
        })
        .collect();
    let golden = include_str!("../../golden/v1.txt");
    if lines.concat() != golden {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/v1.txt");
        std::fs::write(file, lines.concat()).unwrap();
        panic!(
            "published bytes changed; {file} now holds the new ones: undo the change or raise the schema version"
        );
    }
}

#[test]
fn every_event_is_read_back_and_unknown_fields_are_ignored() {
    for fact in facts() {
        let event = decode(fact.kind, fact.schema_version, &fact.payload).unwrap();
        let mut wider: serde_json::Value = serde_json::from_slice(&fact.payload).unwrap();
        wider["added_later"] = serde_json::json!({"a": 1});
        assert_eq!(decode(fact.kind, 1, wider.to_string().as_bytes()).unwrap(), event);
        match event {
            Event::ProductChanged { product, previous } => {
                assert_eq!((product.price_minor, previous.price_minor), (990, Some(1_250)));
                assert_eq!(previous.name, None);
            }
            Event::StockAdjusted {
                stock,
                previous_quantity,
                cause: StockCause::Order,
            } => assert_eq!((previous_quantity, stock.quantity), (10, 8)),
            Event::ProductDiscontinued { product, previous } => {
                assert_eq!(product.status, "discontinued");
                assert_eq!(previous.status.as_deref(), Some("active"));
            }
            Event::OrderShipped(order) => assert_eq!(order.shipped_at, Some(datetime!(2026-01-02 09:30 UTC))),
            _ => {}
        }
    }
}

#[test]
fn an_order_of_before_there_were_shipments_is_read() {
    let old = br#"{"id":"00000000-0000-0000-0000-000000000003","customer_id":"00000000-0000-0000-0000-000000000002","status":"paid","currency":"EUR","total_minor":0,"lines":[],"placed_at":"2026-01-01T00:00:00.25Z","paid_at":"2026-01-01T00:05:00Z","cancelled_at":null,"reason":null,"version":2}"#;
    let event = decode("plumbline.order.paid", 1, old).unwrap();
    assert_eq!(event.order().unwrap().shipped_at, None);
}

#[test]
fn a_newer_event_is_told_from_a_malformed_one() {
    let order = &facts()[4];
    for (kind, version, payload, newer) in [
        (order.kind, 2, order.payload.as_slice(), true),
        ("plumbline.order.gifted", 1, order.payload.as_slice(), true),
        (order.kind, 1, b"{}".as_slice(), false),
        (order.kind, 1, b"\xff".as_slice(), false),
    ] {
        match decode(kind, version, payload) {
            Err(DecodeError::Newer { .. }) => assert!(newer, "{kind} {version}"),
            Err(DecodeError::Malformed(_)) => assert!(!newer, "{kind} {version}"),
            Ok(event) => panic!("{event:?}"),
        }
    }
}
