//! What belongs to somebody else: as if it were not there.

use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Scene;
use crate::shop::{Reply, answer, shopper};

/// Everything but the id of the request.
fn without_request_id(mut reply: Reply) -> (StatusCode, Value) {
    reply.body.as_object_mut().unwrap().remove("request_id");
    (reply.status, reply.body)
}

#[tokio::test]
async fn nothing_tells_another_s_resource_from_one_that_does_not_exist() {
    let scene = Scene::set().await;
    let order = scene.order().await;
    let bob = shopper("bob");
    let used = "used-before";
    let first = scene
        .shop
        .plain(&bob, Method::POST, "/v1/orders")
        .header("idempotency-key", used);
    let body = json!({"lines": [{"product_id": scene.product, "quantity": 1}]});
    answer(first.json(&body)).await.expect(StatusCode::CREATED);

    let nobody_s = "0190aaaa-0000-7000-8000-000000000000";
    type Headers = Vec<(&'static str, &'static str)>;
    let requests: Vec<(&str, Method, &str, Headers, Value)> = vec![
        ("orders", Method::GET, "", vec![], Value::Null),
        (
            "orders",
            Method::GET,
            "",
            vec![("if-none-match", "*")],
            Value::Null,
        ),
        (
            "orders",
            Method::GET,
            "",
            vec![("if-none-match", "\"1-1\"")],
            Value::Null,
        ),
        (
            "orders",
            Method::POST,
            "/cancellation",
            vec![("idempotency-key", "new")],
            json!({}),
        ),
        (
            "orders",
            Method::POST,
            "/cancellation",
            vec![("idempotency-key", used)],
            json!({}),
        ),
        ("orders", Method::POST, "/cancellation", vec![], json!({})),
        (
            "orders",
            Method::POST,
            "/cancellation",
            vec![("idempotency-key", "odd")],
            json!({"a": 1}),
        ),
        (
            "orders",
            Method::POST,
            "/payment",
            vec![("idempotency-key", "pay")],
            json!({}),
        ),
        ("customers", Method::GET, "", vec![], Value::Null),
        (
            "customers",
            Method::GET,
            "",
            vec![("if-none-match", "*")],
            Value::Null,
        ),
    ];
    for cancelled in [false, true] {
        if cancelled {
            let path = format!("/v1/orders/{order}/cancellation");
            scene
                .shop
                .post(&shopper("ada"), &path, json!({}))
                .await
                .expect(StatusCode::OK);
        }
        for (collection, method, rest, headers, body) in &requests {
            let ask = async |id: &str| {
                let path = format!("/v1/{collection}/{id}{rest}");
                let mut request = scene.shop.plain(&bob, method.clone(), &path);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                if *body != Value::Null {
                    request = request.json(body);
                }
                without_request_id(answer(request).await)
            };
            let id = if *collection == "orders" {
                &order
            } else {
                &scene.customer
            };
            let (status, body) = ask(id).await;
            assert!(
                status.is_client_error(),
                "{method} {collection}{rest} {headers:?}: {status}"
            );
            assert_eq!(
                (status, body),
                ask(nobody_s).await,
                "{method} {collection}{rest} {headers:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_same_id_from_another_source_owns_nothing() {
    let scene = Scene::set().await;
    let order = format!("/v1/orders/{}", scene.order().await);
    let stranger = Caller {
        principal: "keys:ada".to_owned(),
        ..shopper("ada")
    };
    let shop = &scene.shop;
    shop.get(&stranger, &order).await.expect_problem(404, "not-found");
    shop.get(&stranger, &format!("/v1/customers/{}", scene.customer))
        .await
        .expect_problem(404, "not-found");
    let cancel = format!("{order}/cancellation");
    shop.post(&stranger, &cancel, json!({}))
        .await
        .expect_problem(404, "not-found");
    shop.order(&stranger, &[(&scene.product, 1)])
        .await
        .expect_problem(403, "not-registered");
}
