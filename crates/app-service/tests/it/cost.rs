//! What a cached read asks of Redis, as Redis counts it.

use std::collections::BTreeMap;

use identity::Caller;
use reqwest::StatusCode;
use serde_json::json;
use testkit::RedisServer;

use crate::shop::Shop;

#[tokio::test]
async fn a_cached_product_costs_one_command_and_a_page_of_them_three() {
    let redis = RedisServer::start(&[]);
    let shop = Shop::open_with(&[("REDIS_URL", &redis.url())]).await;
    let mut product = String::new();
    for _ in 0..5 {
        product = format!("/v1/products/{}", shop.product(1, json!({})).await);
    }
    assert_eq!(cheapest(&shop, &redis, &product).await, "1 get");
    // The nonce, the page, and its products.
    let page = "/v1/products?limit=5";
    assert_eq!(cheapest(&shop, &redis, page).await, "2 get, 1 mget");
}

/// What the cheapest of many hits costs. Meanwhile the process looks at the watermark, and its tail for the server's identity, so
/// that not every hit is alone.
async fn cheapest(shop: &Shop, redis: &RedisServer, path: &str) -> String {
    let mut costs = Vec::new();
    testkit::eventually("hits were counted", async || {
        let before = redis.commands();
        let reply = shop.get(&Caller::anonymous(), path).await.expect(StatusCode::OK);
        if reply.header("cache-status") == "plumbline; hit" {
            costs.push(since(&before, &redis.commands()));
        }
        (costs.len() >= 30).then_some(())
    })
    .await;
    let cheapest = costs.into_iter().min_by_key(|cost| cost.values().sum::<u64>());
    let cost = cheapest.unwrap_or_default();
    let cost: Vec<String> = cost
        .iter()
        .map(|(name, calls)| format!("{calls} {name}"))
        .collect();
    cost.join(", ")
}

fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let calls = after.iter().map(|(name, calls)| {
        let before = before.get(name).copied().unwrap_or(0);
        (name.clone(), calls - before)
    });
    // The count itself is an INFO.
    calls
        .filter(|(name, calls)| *calls > 0 && name != "info")
        .collect()
}
