use std::time::Duration;

use domain::{
    CancelReason, CustomerId, Order, OrderId, OrderRefusal, OrderStatus, Product, ProductId, ProductStatus,
    Quantity, Selection, Version,
};
use proptest::prelude::*;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::product::{product, status};

/// How long an order may stay unpaid in these tests.
const AFTER: Duration = Duration::from_secs(1_800);

/// `seconds` after the order was placed.
fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds)
}

fn select(id: u128, quantity: i64) -> Selection {
    Selection {
        product_id: ProductId(Uuid::from_u128(id)),
        quantity: Quantity::new(quantity).unwrap(),
    }
}

fn place(selections: &[Selection], products: &[Product]) -> Result<Order, OrderRefusal> {
    let id = OrderId(Uuid::from_u128(9));
    Order::place(id, CustomerId(Uuid::from_u128(8)), selections, products, at(0))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Pay,
    Ship,
    Cancel,
    Expire,
}

/// Every transition there is. Whatever is not here is refused.
const TRANSITIONS: [(OrderStatus, Step, OrderStatus); 5] = [
    (OrderStatus::Placed, Step::Pay, OrderStatus::Paid),
    (OrderStatus::Placed, Step::Cancel, OrderStatus::Cancelled),
    (OrderStatus::Placed, Step::Expire, OrderStatus::Cancelled),
    (OrderStatus::Paid, Step::Ship, OrderStatus::Shipped),
    (OrderStatus::Paid, Step::Cancel, OrderStatus::Cancelled),
];

fn take(order: &Order, step: Step, at: OffsetDateTime) -> Result<Order, OrderRefusal> {
    match step {
        Step::Pay => order.pay(at),
        Step::Ship => order.ship(at),
        Step::Cancel => order.cancel(at),
        Step::Expire => order.expire(AFTER, at),
    }
}

fn refusal(step: Step, status: OrderStatus) -> OrderRefusal {
    match step {
        Step::Pay => OrderRefusal::NotPayable(status),
        Step::Ship => OrderRefusal::NotShippable(status),
        Step::Cancel => OrderRefusal::NotCancellable(status),
        Step::Expire => OrderRefusal::NotExpirable(status),
    }
}

/// Each state has its times and no others, and they rise.
fn is_consistent(order: &Order) -> bool {
    let times = [order.paid_at, order.shipped_at, order.cancelled_at];
    let present = times.map(|time| time.is_some());
    let fits = match (order.status, order.reason) {
        (OrderStatus::Placed, None) => present == [false, false, false],
        (OrderStatus::Paid, None) => present == [true, false, false],
        (OrderStatus::Shipped, None) => present == [true, true, false],
        (OrderStatus::Cancelled, Some(CancelReason::Customer)) => present[1..] == [false, true],
        (OrderStatus::Cancelled, Some(CancelReason::Expired)) => present == [false, false, true],
        _ => false,
    };
    let passed: Vec<_> = [Some(order.placed_at)]
        .into_iter()
        .chain(times)
        .flatten()
        .collect();
    fits && passed.is_sorted()
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let step = prop::sample::select(vec![Step::Pay, Step::Ship, Step::Cancel, Step::Expire]);
    // Also from before the order was placed: clocks differ.
    prop::collection::vec((step, -60..2 * 1_800i64), 0..10)
}

proptest! {
    #[test]
    fn every_step_is_in_the_table_or_refused_and_times_and_versions_stay_consistent(steps in steps()) {
        let mut order = place(&[select(1, 1)], &[product(1, 100, "EUR")]).unwrap();
        prop_assert!(is_consistent(&order));
        for (step, seconds) in steps {
            let allowed = TRANSITIONS.iter().find(|(from, by, _)| (*from, *by) == (order.status, step));
            let due = seconds >= 1_800;
            match (allowed, take(&order, step, at(seconds))) {
                (Some((_, _, to)), Ok(next)) => {
                    prop_assert!(step != Step::Expire || due);
                    prop_assert_eq!(next.status, *to);
                    prop_assert_eq!(next.version, order.version.next());
                    prop_assert_eq!((&next.lines, next.total), (&order.lines, order.total));
                    prop_assert!(is_consistent(&next), "{next:?}");
                    order = next;
                }
                (Some(_), Err(why)) => prop_assert!(why == OrderRefusal::NotExpired && step == Step::Expire && !due),
                (None, outcome) => prop_assert_eq!(outcome, Err(refusal(step, order.status))),
            }
        }
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines(lines in prop::collection::vec((1i64..1_000_000, 1i64..1_000), 1..20)) {
        let products: Vec<_> = lines.iter().zip(1..).map(|((price, _), id)| product(id, *price, "EUR")).collect();
        let selections: Vec<_> = lines.iter().zip(1..).map(|((_, n), id)| select(id, *n)).collect();
        let order = place(&selections, &products).unwrap();
        prop_assert_eq!(order.total.minor(), lines.iter().map(|(price, n)| price * n).sum::<i64>());
        prop_assert_eq!(order.version, Version::FIRST);
    }

    #[test]
    fn only_active_products_of_one_currency_are_ordered(
        catalogue in prop::collection::vec((status(), prop::sample::select(vec!["EUR", "JPY"])), 1..4),
    ) {
        let products: Vec<_> = catalogue
            .iter()
            .zip(1..)
            .map(|((status, currency), id)| Product { status: *status, ..product(id, 100, currency) })
            .collect();
        let selections: Vec<_> = (1..).take(products.len()).map(|id| select(id, 1)).collect();
        let active = products.iter().all(|product| product.status == ProductStatus::Active);
        let one_currency = products.iter().all(|product| product.price.currency() == products[0].price.currency());
        prop_assert_eq!(place(&selections, &products).is_ok(), active && one_currency);
    }

    #[test]
    fn selections_are_sorted_by_product_or_refused(ids in prop::collection::vec(1u128..30, 0..25)) {
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        let sorted = Order::sort_selections(ids.iter().map(|id| select(*id, 1)).collect());
        match sorted {
            Ok(sorted) => {
                prop_assert!(sorted.iter().map(|selection| selection.product_id.0.as_u128()).eq(distinct.into_iter().copied()));
            }
            Err(OrderRefusal::LineCount) => prop_assert!(ids.is_empty() || ids.len() > domain::MAX_LINES),
            Err(_) => prop_assert!(distinct.len() < ids.len()),
        }
    }
}
