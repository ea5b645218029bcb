//! Listings, page by page.

use std::collections::BTreeSet;

use identity::Caller;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::shop::{Reply, Shop, caller, merchandiser, shopper};

fn ids(page: &Reply) -> Vec<String> {
    let items = page.body["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

/// All pages, one after the other. `query` has the parameters besides the cursor; `between` runs after each page.
async fn pages(
    shop: &Shop,
    caller: &Caller,
    path: &str,
    query: &str,
    between: impl AsyncFn(),
) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = shop.get(caller, &format!("{path}?{query}{cursor}")).await;
        let page = page.expect(StatusCode::OK);
        found.push(ids(&page));
        assert!(found.len() <= 100, "the pages go round in circles: {found:?}");
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
        between().await;
    }
}

/// Products of each status in turn; their ids by status.
async fn catalogue(shop: &Shop, count: usize) -> Vec<(&'static str, String)> {
    let mut products = Vec::new();
    for index in 0..count {
        let status = ["active", "draft", "discontinued"][index % 3];
        let first = if status == "draft" { "draft" } else { "active" };
        let id = shop.product(0, json!({"status": first})).await;
        if status == "discontinued" {
            let end = json!({"status": "discontinued"});
            let ended = shop
                .patch(&merchandiser(), &format!("/v1/products/{id}"), end)
                .await;
            ended.expect(StatusCode::OK);
        }
        products.push((status, id));
    }
    products
}

fn of(products: &[(&str, String)], shown: &[&str]) -> Vec<String> {
    let shown = products.iter().filter(|(status, _)| shown.contains(status));
    shown.map(|(_, id)| id.clone()).collect()
}

#[tokio::test]
async fn a_listing_pages_through_all_that_was_asked_for_and_may_be_seen() {
    let shop = Shop::open().await;
    let products = catalogue(&shop, 10).await;
    let everything = of(&products, &["active", "draft", "discontinued"]);
    let active = of(&products, &["active"]);
    let anybody = Caller::anonymous();
    for limit in [1, 2, 3, 10, 100] {
        for (who, filter, expected) in [
            (&anybody, "", &active),
            (&anybody, "&status=active", &active),
            (&merchandiser(), "", &everything),
            (&merchandiser(), "&status=active", &active),
            (&merchandiser(), "&status=draft", &of(&products, &["draft"])),
            (
                &merchandiser(),
                "&status=discontinued",
                &of(&products, &["discontinued"]),
            ),
        ] {
            let query = format!("limit={limit}{filter}");
            let found = pages(&shop, who, "/v1/products", &query, async || {}).await;
            assert!(found.iter().all(|page| page.len() <= limit), "{query}");
            assert_eq!(found.concat(), *expected, "{query} as {}", who.principal);
        }
    }
    for status in ["draft", "discontinued"] {
        let path = format!("/v1/products?status={status}");
        shop.get(&anybody, &path)
            .await
            .expect_problem(401, "unauthenticated");
        shop.get(&shopper("ada"), &path)
            .await
            .expect_problem(403, "insufficient-scope");
    }
}

#[tokio::test]
async fn rows_that_are_added_while_somebody_pages_shift_nothing() {
    let shop = Shop::open().await;
    let there = of(&catalogue(&shop, 9).await, &["active", "draft", "discontinued"]);
    let found = pages(&shop, &merchandiser(), "/v1/products", "limit=2", async || {
        // At the end of this listing, which therefore sees it, too; and it must come to an end.
        if shop.facts().await.len() < 40 {
            shop.product(0, json!({"status": "draft"})).await;
        }
    })
    .await
    .concat();
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "nothing is seen twice");
    assert!(found.starts_with(&there), "{found:?}");

    let ada = shopper("ada");
    let customer = shop.register(&ada).await;
    let mug = shop.product(100, json!({})).await;
    let order = async || {
        let placed = shop.order(&ada, &[(&mug, 1)]).await;
        placed.expect(StatusCode::CREATED).id()
    };
    let mut there = Vec::new();
    for _ in 0..7 {
        there.insert(0, order().await);
    }
    // At the beginning of this one, which is past when they come.
    let path = format!("/v1/customers/{customer}/orders");
    let found = pages(&shop, &ada, &path, "limit=2", async || {
        order().await;
    })
    .await;
    assert_eq!(found.concat(), there);
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 1]);
}

#[tokio::test]
async fn a_customer_s_orders_are_theirs_alone_and_whole() {
    let shop = Shop::open().await;
    let (ada, bob) = (shopper("ada"), shopper("bob"));
    let (ada_id, bob_id) = (shop.register(&ada).await, shop.register(&bob).await);
    let mug = shop.product(100, json!({})).await;
    let cup = shop.product(100, json!({})).await;
    let of_ada = [
        shop.order(&ada, &[(&mug, 1)]).await.expect(StatusCode::CREATED),
        shop.order(&ada, &[(&cup, 2), (&mug, 3)])
            .await
            .expect(StatusCode::CREATED),
    ];
    let path = |id: &str| format!("/v1/customers/{id}/orders");

    let listed = shop.get(&ada, &path(&ada_id)).await.expect(StatusCode::OK);
    assert_eq!(
        listed.body,
        json!({"items": [of_ada[1].body, of_ada[0].body], "next": null})
    );
    let nothing = shop.get(&bob, &path(&bob_id)).await.expect(StatusCode::OK);
    assert_eq!(nothing.body, json!({"items": [], "next": null}));

    let reader = caller("reader", &["orders:read:any"]);
    let read = shop.get(&reader, &path(&ada_id)).await.expect(StatusCode::OK);
    assert_eq!(read.body, listed.body);
    shop.get(&bob, &path(&ada_id))
        .await
        .expect_problem(404, "not-found");
    shop.get(&reader, &path(&mug))
        .await
        .expect_problem(404, "not-found");
    shop.get(&Caller::anonymous(), &path(&ada_id))
        .await
        .expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_cursor_is_a_place_in_one_listing_and_no_right() {
    let shop = Shop::open().await;
    let products = catalogue(&shop, 9).await;
    let next = async |who: &Caller, path: &str| -> Value {
        shop.get(who, path).await.expect(StatusCode::OK).body["next"].clone()
    };
    let refused = async |path: &str, why: &str| {
        let reply = shop.get(&merchandiser(), path).await;
        let reply = reply.expect_problem(400, "invalid-query");
        let error = &reply.body["errors"][0];
        assert_eq!(error["parameter"], "cursor", "{}", reply.body);
        assert!(error["detail"].as_str().unwrap().contains(why), "{}", reply.body);
    };
    let all = next(&merchandiser(), "/v1/products?limit=1").await;
    let all = all.as_str().unwrap();

    // What it was made for by somebody who sees more, anybody goes on with, and sees no more than otherwise.
    let rest = shop
        .get(&Caller::anonymous(), &format!("/v1/products?cursor={all}"))
        .await;
    let rest = rest.expect(StatusCode::OK);
    assert_eq!(ids(&rest), of(&products, &["active"])[1..]);
    // Another limit is another step through the same listing.
    let more = shop
        .get(&merchandiser(), &format!("/v1/products?limit=3&cursor={all}"))
        .await;
    assert_eq!(ids(&more.expect(StatusCode::OK)).len(), 3);

    refused(
        &format!("/v1/products?status=draft&cursor={all}"),
        "another listing",
    )
    .await;
    let ada = shopper("ada");
    let customer = shop.register(&ada).await;
    let reader = caller("reader", &["orders:read:any"]);
    let elsewhere = format!("/v1/customers/{customer}/orders?cursor={all}");
    let reply = shop.get(&reader, &elsewhere).await;
    reply.expect_problem(400, "invalid-query");
    // Its first byte is its version.
    refused(&format!("/v1/products?cursor=B{}", &all[1..]), "another version").await;
    refused(&format!("/v1/products?cursor={}", &all[..20]), "no cursor").await;
    refused("/v1/products?cursor=", "no cursor").await;
    refused(&format!("/v1/products?cursor={}", products[0].1), "").await;
}
