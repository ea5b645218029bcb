use diesel_async::SimpleAsyncConnection as _;
use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::shop::{Shop, answer, cashier, fulfilment, merchandiser, shopper};

#[tokio::test]
async fn an_order_is_placed_paid_and_cancelled_with_a_fact_for_each_version() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    let customer = shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let cup = shop.product(2, json!({"price_minor": 300})).await;

    // The last cups: they sell out.
    let placed = shop
        .order(&ada, &[(&cup, 2), (&mug, 1)])
        .await
        .expect(StatusCode::CREATED);
    let id = placed.id();
    let path = format!("/v1/orders/{id}");
    assert_eq!(placed.header("location"), path);
    assert_eq!(placed.header("etag"), "\"1-1\"");
    assert_eq!(placed.body["customer_id"], customer.as_str());
    assert_eq!(
        (&placed.body["status"], &placed.body["total_minor"]),
        (&json!("placed"), &json!(1850))
    );
    assert_eq!(
        (&placed.body["currency"], &placed.body["paid_at"]),
        (&json!("EUR"), &json!(null))
    );
    let lines = json!([
        {"product_id": mug, "quantity": 1, "unit_price_minor": 1250},
        {"product_id": cup, "quantity": 2, "unit_price_minor": 300},
    ]);
    assert_eq!(placed.body["lines"], lines, "by product id, which is by creation");
    assert_eq!(
        shop.get(&ada, &path).await.body,
        placed.body,
        "also the microseconds"
    );
    assert_eq!((shop.quantity(&mug).await, shop.quantity(&cup).await), (4, 0));
    let seen = shop
        .get(&Caller::anonymous(), &format!("/v1/products/{cup}"))
        .await
        .body;
    assert_eq!(seen["availability"], "sold_out");

    let paid = shop
        .post(&cashier(), &format!("{path}/payment"), json!({}))
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        (&paid.body["status"], &paid.body["version"]),
        (&json!("paid"), &json!(2))
    );
    assert!(paid.body["paid_at"].is_string());

    let cancelled = shop
        .post(&ada, &format!("{path}/cancellation"), json!({}))
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        (&cancelled.body["status"], &cancelled.body["reason"]),
        (&json!("cancelled"), &json!("customer"))
    );
    assert_eq!(cancelled.body["paid_at"], paid.body["paid_at"]);
    assert_eq!((shop.quantity(&mug).await, shop.quantity(&cup).await), (5, 2));

    assert_eq!(
        shop.history(&id).await,
        ["order.placed@1", "order.paid@2", "order.cancelled@3"]
    );
    let of_cup = [
        "product.created@1",
        "stock.adjusted@1",
        "stock.adjusted@2",
        "product.changed@2",
        "stock.adjusted@3",
        "product.changed@3",
    ];
    assert_eq!(shop.history(&cup).await, of_cup);
    assert_eq!(
        shop.history(&mug).await,
        [
            "product.created@1",
            "stock.adjusted@1",
            "stock.adjusted@2",
            "stock.adjusted@3"
        ]
    );
    shop.check_facts().await;
}

#[tokio::test]
async fn a_paid_order_is_shipped_and_stays_so() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = shop
        .order(&ada, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    let step = async |by: &Caller, step: &str| {
        shop.post(by, &format!("/v1/orders/{order}/{step}"), json!({}))
            .await
    };

    let early = step(&fulfilment(), "shipment").await;
    let early = early.expect_problem(409, "order-not-shippable");
    assert_eq!(early.body["order_status"], "placed");
    step(&cashier(), "payment").await.expect(StatusCode::OK);
    let shipped = step(&fulfilment(), "shipment").await.expect(StatusCode::OK);
    assert_eq!(
        (&shipped.body["status"], &shipped.body["version"]),
        (&json!("shipped"), &json!(3))
    );
    assert!(shipped.body["shipped_at"].is_string(), "{}", shipped.body);
    assert_eq!(shipped.header("etag"), "\"1-3\"");
    let read = shop.get(&ada, &format!("/v1/orders/{order}")).await;
    assert_eq!(read.body, shipped.body);

    for (by, again, slug) in [
        (cashier(), "payment", "order-not-payable"),
        (fulfilment(), "shipment", "order-not-shippable"),
        (fulfilment(), "cancellation", "order-not-cancellable"),
        (ada.clone(), "cancellation", "order-not-cancellable"),
    ] {
        let refused = step(&by, again).await.expect_problem(409, slug);
        assert_eq!(refused.body["order_status"], "shipped");
    }
    assert_eq!(shop.quantity(&mug).await, 4, "what has left does not come back");
    assert_eq!(
        shop.history(&order).await,
        ["order.placed@1", "order.paid@2", "order.shipped@3"]
    );
    let fact = shop.facts().await.pop().unwrap();
    assert_eq!(fact.actor, "main:fulfilment");
    assert_eq!(fact.payload(), shipped.body);
    shop.check_facts().await;
}

#[tokio::test]
async fn facts_say_who_did_it_and_what_it_was_before() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = shop
        .order(&ada, &[(&mug, 2)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    shop.post(
        &fulfilment(),
        &format!("/v1/orders/{order}/cancellation"),
        json!({}),
    )
    .await
    .expect(StatusCode::OK);

    let facts = shop.facts().await;
    let stock: Vec<_> = facts
        .iter()
        .filter(|fact| fact.kind == "plumbline.stock.adjusted")
        .map(|fact| {
            let payload = fact.payload();
            (
                fact.actor.clone(),
                payload["previous_quantity"].clone(),
                payload["quantity"].clone(),
                payload["cause"].clone(),
            )
        })
        .collect();
    let expected = [
        (
            "main:merchandiser".to_owned(),
            json!(0),
            json!(5),
            json!("manual"),
        ),
        ("main:ada".to_owned(), json!(5), json!(3), json!("order")),
        ("main:fulfilment".to_owned(), json!(3), json!(5), json!("restock")),
    ];
    assert_eq!(stock, expected);
    let placed = facts
        .iter()
        .find(|fact| fact.kind == "plumbline.order.placed")
        .unwrap()
        .payload();
    assert_eq!(
        placed["lines"],
        json!([{"product_id": mug, "quantity": 2, "unit_price_minor": 1250}])
    );
}

#[tokio::test]
async fn a_price_change_never_touches_an_order() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = shop
        .order(&ada, &[(&mug, 2)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    shop.patch(
        &merchandiser(),
        &format!("/v1/products/{mug}"),
        json!({"price_minor": 1}),
    )
    .await
    .expect(StatusCode::OK);

    let read = shop.get(&ada, &format!("/v1/orders/{order}")).await.body;
    assert_eq!(
        (&read["total_minor"], &read["lines"][0]["unit_price_minor"]),
        (&json!(2500), &json!(1250))
    );
    let next = shop
        .order(&ada, &[(&mug, 2)])
        .await
        .expect(StatusCode::CREATED)
        .body;
    assert_eq!(next["total_minor"], 2);
}

#[tokio::test]
async fn any_other_step_of_an_order_is_refused() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let order = shop
        .order(&ada, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    let pay = async || {
        shop.post(&cashier(), &format!("/v1/orders/{order}/payment"), json!({}))
            .await
    };
    let cancel = async || {
        shop.post(&ada, &format!("/v1/orders/{order}/cancellation"), json!({}))
            .await
    };

    pay().await.expect(StatusCode::OK);
    let refused = pay().await.expect_problem(409, "order-not-payable");
    assert_eq!(refused.body["order_status"], "paid");
    cancel().await.expect(StatusCode::OK);
    cancel().await.expect_problem(409, "order-not-cancellable");
    pay().await.expect_problem(409, "order-not-payable");
    assert_eq!(shop.quantity(&mug).await, 5, "restocked once");
    shop.check_facts().await;
}

#[tokio::test]
async fn an_order_that_can_t_be_filled_takes_nothing() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let plenty = shop.product(5, json!({})).await;
    let scarce = shop.product(1, json!({})).await;
    let draft = shop.product(5, json!({"status": "draft"})).await;
    let yen = shop.product(5, json!({"currency": "JPY"})).await;
    let before = shop.facts().await.len();

    let refused = shop
        .order(&ada, &[(&plenty, 1), (&scarce, 2)])
        .await
        .expect_problem(409, "insufficient-stock");
    assert_eq!(
        (&refused.body["available"], &refused.body["product_id"]),
        (&json!(1), &json!(scarce))
    );
    for (lines, pointer) in [
        (
            vec![(plenty.as_str(), 1), (draft.as_str(), 1)],
            "/lines/1/product_id",
        ),
        (
            vec![(yen.as_str(), 1), (plenty.as_str(), 1)],
            "/lines/0/product_id",
        ),
        (
            vec![(plenty.as_str(), 1), (plenty.as_str(), 1)],
            "/lines/1/product_id",
        ),
        (vec![], "/lines"),
    ] {
        let refused = shop
            .order(&ada, &lines)
            .await
            .expect_problem(422, "invalid-fields");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{}", refused.body);
    }
    assert_eq!(
        (shop.quantity(&plenty).await, shop.quantity(&scarce).await),
        (5, 1)
    );
    assert_eq!(shop.facts().await.len(), before);
    shop.check_facts().await;
}

#[tokio::test]
async fn orders_and_cancellations_lock_stock_by_product_id_whatever_the_order_of_lines() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let first = shop.product(9, json!({})).await;
    let second = shop.product(9, json!({})).await;
    let placed = shop.order(&ada, &[(&second, 1), (&first, 1)]).await;
    let cancellation = format!(
        "/v1/orders/{}/cancellation",
        placed.expect(StatusCode::CREATED).id()
    );
    let lines = json!([{"product_id": second, "quantity": 1}, {"product_id": first, "quantity": 1}]);

    for (path, body, expected) in [
        ("/v1/orders", json!({"lines": lines}), StatusCode::CREATED),
        (&cancellation, json!({}), StatusCode::OK),
    ] {
        let lock = |id: &str, how: &str| {
            format!("BEGIN; SELECT FROM stock WHERE product_id = '{id}' FOR UPDATE {how}")
        };
        let mut holder = shop.superuser().await;
        holder.batch_execute(&lock(&first, "")).await.unwrap();
        let request = tokio::spawn(answer(shop.request(&ada, Method::POST, path).json(&body)));
        shop.wait_for_a_blocked_statement().await;
        // It waits for the first and does not hold the second: no two of them can wait for each other.
        let mut other = shop.superuser().await;
        let free = other.batch_execute(&lock(&second, "NOWAIT")).await;
        assert!(free.is_ok(), "{path}: {free:?}");

        other.batch_execute("ROLLBACK").await.unwrap();
        holder.batch_execute("ROLLBACK").await.unwrap();
        request.await.unwrap().expect(expected);
    }
    shop.check_facts().await;
}
