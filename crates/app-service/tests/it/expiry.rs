//! Orders that nobody pays, and the job that notices.

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use identity::Caller;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::shop::{Shop, cashier, fulfilment, shopper};

const SOON: &[(&str, &str)] = &[("ORDER_EXPIRY", "1s")];

async fn status(shop: &Shop, caller: &Caller, order: &str) -> Value {
    let read = shop.get(caller, &format!("/v1/orders/{order}")).await;
    read.expect(StatusCode::OK).body["status"].clone()
}

async fn until_cancelled(shop: &Shop, caller: &Caller, order: &str) {
    testkit::eventually("the order has expired", async || {
        (status(shop, caller, order).await == "cancelled").then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_replicas_expire_each_unpaid_order_once_and_put_its_goods_back_once() {
    let mut shop = Shop::open_with(SOON).await;
    let mut other = shop.replica();
    let ada = shopper("ada");
    shop.register(&ada).await;
    let [mug, cup] = [
        shop.product(100, json!({})).await,
        shop.product(40, json!({})).await,
    ];
    // Twenty orders for two cups each: they sell out, and are back.
    let place = async |index: usize| {
        let order = shop.order(&ada, &[(&mug, 1), (&cup, 2)]).await;
        let order = order.expect(StatusCode::CREATED).id();
        if index.is_multiple_of(5) {
            let path = format!("/v1/orders/{order}/payment");
            shop.post(&cashier(), &path, json!({}))
                .await
                .expect(StatusCode::OK);
        }
        order
    };
    let orders = join_all((0..20).map(place)).await;

    let (paid, unpaid): (Vec<_>, Vec<_>) = (0..).zip(orders).partition(|(index, _)| index % 5 == 0);
    for (_, order) in &unpaid {
        until_cancelled(&shop, &ada, order).await;
        assert_eq!(shop.history(order).await, ["order.placed@1", "order.cancelled@2"]);
    }
    for (_, order) in &paid {
        assert_eq!(status(&shop, &ada, order).await, "paid");
    }
    assert_eq!((shop.quantity(&mug).await, shop.quantity(&cup).await), (96, 32));
    let seen = shop
        .get(&Caller::anonymous(), &format!("/v1/products/{cup}"))
        .await;
    assert_eq!(seen.body["availability"], "in_stock");

    let facts = shop.facts().await;
    let cancelled = facts
        .iter()
        .filter(|fact| fact.kind == "plumbline.order.cancelled");
    for fact in cancelled.clone() {
        assert_eq!(fact.actor, "system:expire-orders");
        let payload = fact.payload();
        assert_eq!(
            (&payload["status"], &payload["reason"], &payload["paid_at"]),
            (&json!("cancelled"), &json!("expired"), &Value::Null)
        );
    }
    assert_eq!(cancelled.count(), 16);
    let restocked = facts.iter().filter(|fact| {
        fact.actor == "system:expire-orders"
            && fact.kind == "plumbline.stock.adjusted"
            && fact.payload()["cause"] == "restock"
    });
    assert_eq!(restocked.count(), 32);
    shop.check_facts().await;

    shop.terminate();
    other.terminate();
    assert_eq!(shop.ended().await.code(), Some(0));
    assert_eq!(other.ended().await.code(), Some(0));
}

#[tokio::test]
async fn when_a_replica_dies_the_other_one_goes_on_expiring_orders() {
    let mut shop = Shop::open_with(SOON).await;
    let other = shop.replica();
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = async |shop: &Shop| {
        let placed = shop.order(&ada, &[(&mug, 1)]).await;
        placed.expect(StatusCode::CREATED).id()
    };
    let before = order(&shop).await;
    shop.kill_and_go_on_with(other);
    // Only the second one is there to expire this one.
    let after = order(&shop).await;
    for order in [&before, &after] {
        until_cancelled(&shop, &ada, order).await;
        assert_eq!(shop.history(order).await, ["order.placed@1", "order.cancelled@2"]);
    }
    assert_eq!(shop.quantity(&mug).await, 5);
    shop.check_facts().await;
}

#[tokio::test]
async fn an_expired_order_takes_no_further_step() {
    let shop = Shop::open_with(SOON).await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = shop
        .order(&ada, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    until_cancelled(&shop, &ada, &order).await;
    for (caller, step, slug) in [
        (cashier(), "payment", "order-not-payable"),
        (fulfilment(), "shipment", "order-not-shippable"),
        (ada.clone(), "cancellation", "order-not-cancellable"),
    ] {
        let refused = shop
            .post(&caller, &format!("/v1/orders/{order}/{step}"), json!({}))
            .await
            .expect_problem(409, slug);
        assert_eq!(refused.body["order_status"], "cancelled");
    }
    assert_eq!(shop.quantity(&mug).await, 5, "restocked once");
    shop.check_facts().await;
}

#[tokio::test]
async fn an_order_that_somebody_holds_keeps_no_other_waiting_and_is_decided_on_as_it_is_left() {
    let shop = Shop::open_with(SOON).await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = async || {
        let placed = shop.order(&ada, &[(&mug, 1)]).await;
        placed.expect(StatusCode::CREATED).id()
    };
    let [held, after] = [order().await, order().await];
    let mut holder = shop.superuser().await;
    holder
        .batch_execute(&format!(
            "BEGIN; UPDATE orders SET status = 'paid', paid_at = now() + interval '1 h', version = 2 WHERE id = '{held}'"
        ))
        .await
        .unwrap();

    // The older one would come first.
    until_cancelled(&shop, &ada, &after).await;
    assert_eq!(status(&shop, &ada, &held).await, "placed");
    holder.batch_execute("COMMIT").await.unwrap();

    // Another one, placed later, is expired by a later look: it left the paid one alone.
    let last = order().await;
    until_cancelled(&shop, &ada, &last).await;
    assert_eq!(status(&shop, &ada, &held).await, "paid");
    assert_eq!(shop.quantity(&mug).await, 4);
}

#[tokio::test]
async fn while_one_replica_expires_an_order_the_other_does_not_wait_for_it() {
    let shop = Shop::open_with(SOON).await;
    let _other = shop.replica();
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = shop
        .order(&ada, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();
    // One has the order's row and waits for the stock. The other one looks ten times a second.
    shop.wait_for_a_blocked_statement().await;
    for _ in 0..20 {
        shop.get(&ada, &format!("/v1/orders/{order}"))
            .await
            .expect(StatusCode::OK);
        assert!(shop.blocked_statements().await <= 1);
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    until_cancelled(&shop, &ada, &order).await;
    assert_eq!(
        shop.history(&order).await,
        ["order.placed@1", "order.cancelled@2"]
    );
    assert_eq!(shop.quantity(&mug).await, 5);
    shop.check_facts().await;
}
