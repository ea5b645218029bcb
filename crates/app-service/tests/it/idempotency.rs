//! A POST that is repeated: one effect, and the answer as often as it is asked for.

mod in_flight;
mod table;

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use identity::Caller;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::shop::{Reply, Shop, answer, caller, cashier, fulfilment, merchandiser, shopper};

/// A POST with a key of the test's choice.
fn keyed(shop: &Shop, caller: &Caller, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    shop.plain(caller, Method::POST, path)
        .header("idempotency-key", key)
        .json(body)
}

async fn post(shop: &Shop, caller: &Caller, path: &str, key: &str, body: &Value) -> Reply {
    answer(keyed(shop, caller, path, key, body)).await
}

/// What a repetition has to bring again.
fn stored(reply: &Reply) -> (StatusCode, Value, String, String, String) {
    let mut body = reply.body.clone();
    if let Some(members) = body.as_object_mut() {
        // Each request has its own.
        members.remove("request_id");
    }
    let header = |name| reply.header(name).to_owned();
    (
        reply.status,
        body,
        header("etag"),
        header("location"),
        header("content-type"),
    )
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

async fn count(shop: &Shop, of: &str) -> i64 {
    let mut conn = shop.superuser().await;
    let counted = diesel::sql_query(format!("SELECT count(*) AS count FROM {of}"));
    counted.get_result::<Count>(&mut conn).await.unwrap().count
}

/// A shop with a registered customer and a product.
async fn scene() -> (Shop, Caller, String) {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(10, json!({})).await;
    (shop, ada, mug)
}

fn one(product: &str) -> Value {
    json!({"lines": [{"product_id": product, "quantity": 1}]})
}

#[tokio::test]
async fn every_post_needs_one_well_formed_key() {
    let (shop, _, mug) = scene().await;
    let everybody = caller(
        "ada",
        &[
            "catalogue:write",
            "customers:write",
            "orders:write",
            "payments:record",
            "orders:fulfil",
        ],
    );
    let order = shop
        .order(&everybody, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    let paths = [
        "/v1/products".to_owned(),
        format!("/v1/products/{mug}/stock-adjustments"),
        "/v1/customers".to_owned(),
        "/v1/orders".to_owned(),
        format!("/v1/orders/{order}/payment"),
        format!("/v1/orders/{order}/shipment"),
        format!("/v1/orders/{order}/cancellation"),
    ];
    let before = shop.facts().await.len();
    for path in &paths {
        let request = || shop.plain(&everybody, Method::POST, path).json(&json!({}));
        let missing = answer(request())
            .await
            .expect_problem(400, "idempotency-key-required");
        assert!(
            missing.body["detail"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key")
        );
        let long = "k".repeat(65);
        for keys in [
            vec![""],
            vec!["a b"],
            vec!["caf\u{e9}"],
            vec![&long],
            vec!["a", "a"],
        ] {
            let with = |request: reqwest::RequestBuilder, key: &&str| {
                request.header(
                    "idempotency-key",
                    header::HeaderValue::from_bytes(key.as_bytes()).unwrap(),
                )
            };
            let reply = answer(keys.iter().fold(request(), with)).await;
            reply.expect_problem(400, "idempotency-key-invalid");
        }
    }
    assert_eq!(shop.facts().await.len(), before);
    // The longest that is allowed, and every kind of character.
    let key = "!~".repeat(32);
    post(&shop, &everybody, "/v1/orders", &key, &one(&mug))
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_time_and_changes_nothing() {
    let (shop, ada, mug) = scene().await;
    let placed = post(&shop, &ada, "/v1/orders", "order", &one(&mug))
        .await
        .expect(StatusCode::CREATED);
    let order = format!("/v1/orders/{}", placed.id());
    let payment = format!("{order}/payment");
    let shipment = format!("{order}/shipment");
    let other = shop
        .order(&ada, &[(&mug, 2)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    let cancellation = format!("/v1/orders/{other}/cancellation");
    let adjustment = format!("/v1/products/{mug}/stock-adjustments");
    let new = json!({"sku": "S-1", "name": "Cup", "price_minor": 1, "currency": "EUR"});
    let requests = [
        (&ada, "/v1/orders", "order", one(&mug)),
        (&cashier(), payment.as_str(), "pay", json!({})),
        (&fulfilment(), shipment.as_str(), "ship", json!({})),
        (&ada, cancellation.as_str(), "cancel", json!({})),
        (&merchandiser(), "/v1/products", "new", new),
        (
            &merchandiser(),
            adjustment.as_str(),
            "adjust",
            json!({"delta": 5}),
        ),
        (&shopper("bob"), "/v1/customers", "me", json!({"name": "Bob"})),
    ];
    for (caller, path, key, body) in &requests {
        let first = post(&shop, caller, path, key, body).await;
        assert!(first.status.is_success(), "{path}: {}", first.body);
        let facts = shop.facts().await.len();
        for _ in 0..2 {
            let again = post(&shop, caller, path, key, body).await;
            assert_eq!(stored(&again), stored(&first), "{path}");
        }
        assert_eq!(shop.facts().await.len(), facts, "{path}");
    }
    assert_eq!(
        stored(&post(&shop, &ada, "/v1/orders", "order", &one(&mug)).await),
        stored(&placed)
    );
    assert_eq!(shop.quantity(&mug).await, 10 - 1 + 5);
    shop.check_facts().await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_too_and_leaves_nothing_else_behind() {
    let (shop, ada, mug) = scene().await;
    let rare = shop.product(1, json!({})).await;
    // The mug's stock is changed before the rare one turns out to be too few.
    let both = json!({"lines": [{"product_id": mug, "quantity": 1}, {"product_id": rare, "quantity": 2}]});
    let facts = shop.facts().await.len();
    let refused = post(&shop, &ada, "/v1/orders", "both", &both).await;
    let refused = refused.expect_problem(409, "insufficient-stock");
    assert_eq!((shop.quantity(&mug).await, shop.facts().await.len()), (10, facts));

    let path = format!("/v1/products/{rare}/stock-adjustments");
    shop.post(&merchandiser(), &path, json!({"delta": 5}))
        .await
        .expect(StatusCode::OK);
    let again = post(&shop, &ada, "/v1/orders", "both", &both)
        .await
        .expect_problem(409, "insufficient-stock");
    assert_eq!(stored(&again), stored(&refused));
    assert_ne!(
        again.body["request_id"], refused.body["request_id"],
        "each request has its own"
    );
    post(&shop, &ada, "/v1/orders", "both-later", &both)
        .await
        .expect(StatusCode::CREATED);

    let nowhere = "/v1/orders/0190aaaa-0000-7000-8000-000000000000/payment";
    for _ in 0..2 {
        post(&shop, &cashier(), nowhere, "nowhere", &json!({}))
            .await
            .expect_problem(404, "not-found");
    }
    shop.check_facts().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let (shop, ada, mug) = scene().await;
    let first = post(&shop, &ada, "/v1/orders", "k", &one(&mug))
        .await
        .expect(StatusCode::CREATED)
        .id();
    let second = post(&shop, &ada, "/v1/orders", "l", &one(&mug))
        .await
        .expect(StatusCode::CREATED)
        .id();
    let facts = shop.facts().await.len();

    let other_bytes = format!("{} ", one(&mug));
    let other_body = shop
        .plain(&ada, Method::POST, "/v1/orders")
        .header("idempotency-key", "k");
    let other_body = other_body
        .header("content-type", "application/json")
        .body(other_bytes);
    answer(other_body)
        .await
        .expect_problem(422, "idempotency-key-reused");
    let other_type = shop
        .plain(&ada, Method::POST, "/v1/orders")
        .header("idempotency-key", "k");
    let other_type = other_type.header("content-type", "application/json; charset=utf-8");
    let other_type = other_type.body(one(&mug).to_string());
    answer(other_type)
        .await
        .expect_problem(422, "idempotency-key-reused");

    // The same key and body on another order's payment.
    let pay = async |order: &str| {
        post(
            &shop,
            &cashier(),
            &format!("/v1/orders/{order}/payment"),
            "p",
            &json!({}),
        )
        .await
    };
    pay(&first).await.expect(StatusCode::OK);
    pay(&second).await.expect_problem(422, "idempotency-key-reused");
    assert_eq!(
        shop.get(&ada, &format!("/v1/orders/{second}")).await.body["status"],
        "placed"
    );
    // And on another endpoint.
    let cancel = format!("/v1/orders/{first}/cancellation");
    post(&shop, &ada, &cancel, "k", &json!({}))
        .await
        .expect_problem(422, "idempotency-key-reused");
    assert_eq!(shop.facts().await.len(), facts + 1, "one payment");
    shop.check_facts().await;
}

#[tokio::test]
async fn another_principal_s_key_is_another_key() {
    let (shop, ada, mug) = scene().await;
    let other_source = Caller {
        principal: "keys:ada".to_owned(),
        ..ada.clone()
    };
    let mut orders = Vec::new();
    for caller in [&ada, &shopper("bob"), &other_source] {
        if caller.principal != ada.principal {
            shop.register(caller).await;
        }
        let placed = post(&shop, caller, "/v1/orders", "k", &one(&mug)).await;
        orders.push(placed.expect(StatusCode::CREATED).id());
    }
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 3);
    assert_eq!(shop.quantity(&mug).await, 7);
}

#[tokio::test]
async fn rights_are_checked_before_the_key() {
    let (shop, ada, mug) = scene().await;
    let order = shop
        .order(&ada, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    let cancel = format!("/v1/orders/{order}/cancellation");
    let fulfilment = |scopes| caller("fulfilment", scopes);
    // A refused right is not an answer that is kept.
    let without = fulfilment(&[]);
    post(&shop, &without, &cancel, "c", &json!({}))
        .await
        .expect_problem(403, "insufficient-scope");
    let with = fulfilment(&["orders:fulfil"]);
    post(&shop, &with, &cancel, "c", &json!({}))
        .await
        .expect(StatusCode::OK);
    // Whoever has lost the right is not given the answer from when they had it.
    post(&shop, &without, &cancel, "c", &json!({}))
        .await
        .expect_problem(403, "insufficient-scope");
    let as_customer = fulfilment(&["orders:write"]);
    post(&shop, &as_customer, &cancel, "c", &json!({}))
        .await
        .expect_problem(404, "not-found");
    // Nor does a key that was used elsewhere tell that there is such an order.
    let bob = shopper("bob");
    post(&shop, &bob, "/v1/customers", "b", &json!({"name": "Bob"}))
        .await
        .expect(StatusCode::CREATED);
    post(&shop, &bob, &cancel, "b", &json!({}))
        .await
        .expect_problem(404, "not-found");

    // Somebody who registers after all, and repeats.
    let carol = shopper("carol");
    post(&shop, &carol, "/v1/orders", "o", &one(&mug))
        .await
        .expect_problem(403, "not-registered");
    shop.register(&carol).await;
    post(&shop, &carol, "/v1/orders", "o", &one(&mug))
        .await
        .expect(StatusCode::CREATED);
    shop.check_facts().await;
}
