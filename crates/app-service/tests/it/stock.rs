use identity::Caller;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::shop::{Shop, merchandiser};

#[tokio::test]
async fn an_adjustment_changes_the_stock_and_the_product_only_when_it_sells_out_or_is_back() {
    let shop = Shop::open().await;
    let id = shop.product(2, json!({})).await;
    let path = format!("/v1/products/{id}/stock-adjustments");
    let mut history = vec!["product.created@1".to_owned(), "stock.adjusted@1".to_owned()];

    for (delta, quantity, stock_version, product_version, availability) in [
        (3, 5, 2, 1, "in_stock"),
        (-5, 0, 3, 2, "sold_out"),
        (1, 1, 4, 3, "in_stock"),
        (1, 2, 5, 3, "in_stock"),
    ] {
        let reply = shop
            .post(&merchandiser(), &path, json!({"delta": delta}))
            .await
            .expect(StatusCode::OK);
        assert_eq!(
            reply.body,
            json!({"product_id": id, "quantity": quantity, "version": stock_version})
        );
        let product = shop
            .get(&Caller::anonymous(), &format!("/v1/products/{id}"))
            .await
            .body;
        assert_eq!(product["availability"], availability);
        assert_eq!(product["version"], product_version);

        history.push(format!("stock.adjusted@{stock_version}"));
        let flipped = format!("product.changed@{product_version}");
        if product_version > 1 && !history.contains(&flipped) {
            history.push(flipped);
        }
        assert_eq!(shop.history(&id).await, history);
    }
    let sold_out = shop
        .facts()
        .await
        .into_iter()
        .find(|fact| fact.kind == "plumbline.product.changed");
    assert_eq!(
        sold_out.unwrap().payload()["previous"],
        json!({"availability": "in_stock"})
    );
    shop.check_facts().await;
}

#[tokio::test]
async fn stock_goes_neither_below_zero_nor_beyond_a_million() {
    let shop = Shop::open().await;
    let id = shop.product(2, json!({})).await;
    let path = format!("/v1/products/{id}/stock-adjustments");
    let refused = async |delta: i64, slug: &str| -> Value {
        let reply = shop.post(&merchandiser(), &path, json!({"delta": delta})).await;
        reply.expect_problem(409, slug).body
    };
    let insufficient = refused(-3, "insufficient-stock").await;
    assert_eq!(
        (&insufficient["available"], &insufficient["product_id"]),
        (&json!(2), &json!(id))
    );
    refused(999_999, "stock-too-large").await;
    refused(i64::MAX, "stock-too-large").await;
    refused(i64::MIN, "insufficient-stock").await;
    assert_eq!(shop.quantity(&id).await, 2);
    shop.check_facts().await;
}

#[tokio::test]
async fn the_stock_is_read_as_it_is_now() {
    let shop = Shop::open().await;
    let draft = shop.product(3, json!({"status": "draft"})).await;
    let path = format!("/v1/products/{draft}/stock");
    let read = async || shop.get(&merchandiser(), &path).await.expect(StatusCode::OK);

    let first = read().await;
    assert_eq!(
        first.body,
        json!({"product_id": draft, "quantity": 3, "version": 1})
    );
    assert_eq!(first.header("etag"), "\"1-1\"");
    let adjustment = format!("/v1/products/{draft}/stock-adjustments");
    let adjusted = shop.post(&merchandiser(), &adjustment, json!({"delta": 1})).await;
    assert_eq!(read().await.body, adjusted.body);

    let nobody = "0190aaaa-0000-7000-8000-000000000000";
    shop.get(&merchandiser(), &format!("/v1/products/{nobody}/stock"))
        .await
        .expect_problem(404, "not-found");
}
