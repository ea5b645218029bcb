//! ETags: what a client that has one may leave out, and what one without may not do.

use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::shop::{Reply, Shop, answer, merchandiser, shopper};

async fn patch(shop: &Shop, path: &str, if_match: &[&str]) -> Reply {
    let request = shop
        .plain(&merchandiser(), Method::PATCH, path)
        .json(&json!({"name": "Cup"}));
    let request = if_match
        .iter()
        .fold(request, |request, value| request.header("if-match", *value));
    answer(request).await
}

#[tokio::test]
async fn a_change_needs_the_version_that_it_is_based_on() {
    let shop = Shop::open().await;
    let path = format!("/v1/products/{}", shop.product(1, json!({})).await);
    let refused = [
        (vec![], 428, "precondition-required"),
        (vec![""], 400, "invalid-precondition"),
        (vec!["1-1"], 400, "invalid-precondition"),
        (vec!["\"1-1"], 400, "invalid-precondition"),
        (vec!["*", "\"1-1\""], 400, "invalid-precondition"),
        (vec!["\"1-2\""], 412, "stale-version"),
        (vec!["\"1-0\""], 412, "stale-version"),
        (vec!["\"2-1\""], 412, "stale-version"),
        (vec!["W/\"1-1\""], 412, "stale-version"),
        (vec!["\"1-3\", W/\"1-1\""], 412, "stale-version"),
    ];
    for (if_match, status, slug) in refused {
        let reply = patch(&shop, &path, &if_match).await.expect_problem(status, slug);
        if status == 412 {
            assert_eq!(reply.body["current_etag"], "\"1-1\"");
        }
    }
    assert_eq!(shop.get(&merchandiser(), &path).await.body["name"], "Mug");

    let changed = patch(&shop, &path, &["\"1-1\""]).await.expect(StatusCode::OK);
    assert_eq!(changed.header("etag"), "\"1-2\"");
    patch(&shop, &path, &["\"1-1\""])
        .await
        .expect_problem(412, "stale-version");
    // What changes nothing is still based on something.
    patch(&shop, &path, &["\"x\"", "\"1-2\""])
        .await
        .expect(StatusCode::OK);
    patch(&shop, &path, &["*"]).await.expect(StatusCode::OK);
    let gone = "/v1/products/0190aaaa-0000-7000-8000-000000000000";
    patch(&shop, gone, &["\"1-1\""])
        .await
        .expect_problem(404, "not-found");
    patch(&shop, gone, &["*"]).await.expect_problem(404, "not-found");
    shop.check_facts().await;
}

#[tokio::test]
async fn of_two_changes_based_on_one_version_one_is_made() {
    let shop = Shop::open().await;
    let path = format!("/v1/products/{}", shop.product(1, json!({})).await);
    let edit = async |price: i64| {
        let request = shop
            .plain(&merchandiser(), Method::PATCH, &path)
            .header("if-match", "\"1-1\"");
        answer(request.json(&json!({"price_minor": price})))
            .await
            .status
            .as_u16()
    };
    let mut statuses: Vec<u16> = futures_util::future::join_all((1..=6).map(edit)).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412]);
    shop.check_facts().await;
}

#[tokio::test]
async fn who_has_the_current_version_is_not_sent_it_again() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    let customer = format!("/v1/customers/{}", shop.register(&ada).await);
    let mug = shop.product(5, json!({})).await;
    let order = shop.order(&ada, &[(&mug, 1)]).await.expect(StatusCode::CREATED);
    let order = order.header("location").to_owned();
    let product = format!("/v1/products/{mug}");
    // Its stock has changed with the order, so that of another one.
    let stock = format!(
        "{}/stock",
        product.replace(&mug, &shop.product(5, json!({})).await)
    );
    for (caller, path) in [
        (&ada, &customer),
        (&ada, &product),
        (&ada, &order),
        (&merchandiser(), &stock),
    ] {
        for (if_none_match, status) in [
            ("\"1-1\"", 304),
            ("W/\"1-1\"", 304),
            ("\"x\", \"1-1\"", 304),
            ("*", 304),
            ("\"1-2\"", 200),
            ("\"2-1\"", 200),
            // Not a list of tags, so it says nothing.
            ("1-1", 200),
        ] {
            let request = shop
                .plain(caller, Method::GET, path)
                .header("if-none-match", if_none_match);
            let reply = answer(request).await;
            assert_eq!(reply.status.as_u16(), status, "{path}: {if_none_match}");
            assert_eq!(reply.header("etag"), "\"1-1\"");
            assert_eq!(reply.header("cache-control"), "private, no-cache");
            assert_eq!(
                reply.body.as_str() == Some(""),
                status == 304,
                "{path}: {if_none_match}"
            );
        }
    }
    // Whoever may not see it learns nothing from a tag.
    for (caller, path) in [(shopper("bob"), &order), (shopper("bob"), &customer)] {
        let request = shop
            .plain(&caller, Method::GET, path)
            .header("if-none-match", "*");
        answer(request).await.expect_problem(404, "not-found");
    }
    let draft = format!(
        "/v1/products/{}",
        shop.product(1, json!({"status": "draft"})).await
    );
    let request = shop
        .plain(&Caller::anonymous(), Method::GET, &draft)
        .header("if-none-match", "\"1-1\"");
    answer(request).await.expect_problem(404, "not-found");
}
