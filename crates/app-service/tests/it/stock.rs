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
async fn the_stock_of_a_product_is_read_by_whoever_may_see_the_product() {
    let shop = Shop::open().await;
    let anybody = Caller::anonymous();
    let active = shop.product(2, json!({})).await;
    let draft = shop.product(3, json!({"status": "draft"})).await;
    let path = |id: &str| format!("/v1/products/{id}/stock");

    let read = shop.get(&anybody, &path(&active)).await.expect(StatusCode::OK);
    assert_eq!(
        read.body,
        json!({"product_id": active, "quantity": 2, "version": 1})
    );
    assert_eq!(read.header("etag"), "\"1-1\"");
    let adjustment = format!("/v1/products/{active}/stock-adjustments");
    let adjusted = shop.post(&merchandiser(), &adjustment, json!({"delta": 1})).await;
    assert_eq!(
        shop.get(&anybody, &path(&active)).await.body,
        adjusted.body,
        "at once"
    );

    shop.get(&anybody, &path(&draft))
        .await
        .expect_problem(404, "not-found");
    let seen = shop
        .get(&merchandiser(), &path(&draft))
        .await
        .expect(StatusCode::OK);
    assert_eq!(seen.body["quantity"], 3);
    let nobody = "0190aaaa-0000-7000-8000-000000000000";
    shop.get(&merchandiser(), &path(nobody))
        .await
        .expect_problem(404, "not-found");
}
