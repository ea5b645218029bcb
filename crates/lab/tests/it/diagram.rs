//! An order travels the whole diagram.

use reqwest::StatusCode;
use serde_json::json;
use stack::Server;
use testkit::eventually;

use crate::shop::Shop;
use crate::whole;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_travels_the_whole_diagram() {
    let whole = whole::start("diagram", vec![]).await;
    let shop = Shop::open(&whole);
    let mug = shop.product("MUG-1", 1_250, 10).await;
    let pot = shop.product("POT-1", 990, 5).await;
    let [ada, bob] = [shop.customer("ada").await, shop.customer("bob").await];

    let kept = shop.order(&ada, &[(&mug, 2), (&pot, 1)]).await;
    shop.pay(&kept).await;
    let returned = shop.order(&bob, &[(&mug, 1)]).await;
    shop.pay(&returned).await;
    shop.cancel(&returned, &bob).await;
    let dropped = shop.order(&ada, &[(&pot, 5 - 1)]).await;
    shop.cancel(&dropped, &ada).await;

    analytics_are_exact(&shop, &mug, &pot).await;
    mails_are_exact(&shop).await;
    audit_is_exact(&shop, [&kept, &returned, &dropped], &pot).await;
    a_cached_read_is_a_hit_and_a_write_is_visible_to_the_next_read(&shop, &mug, &kept).await;
    another_customers_order_does_not_exist(&shop, &kept, &bob).await;
    whole.down().await;
}

async fn analytics_are_exact(shop: &Shop<'_>, mug: &str, pot: &str) {
    let net = async || {
        let revenue: i64 = shop
            .analytics("revenue")
            .await
            .iter()
            .map(|row| row["revenue_minor"].as_i64().unwrap())
            .sum();
        let units = shop.analytics("units").await;
        let of = |product: &str| -> i64 {
            let rows = units.iter().filter(|row| row["product_id"] == product);
            rows.map(|row| row["units"].as_i64().unwrap()).sum()
        };
        (revenue, of(mug), of(pot))
    };
    eventually("revenue and units of the one order that stays paid", async || {
        Some(net().await).filter(|net| *net == (2 * 1_250 + 990, 2, 1))
    })
    .await;
}

async fn mails_are_exact(shop: &Shop<'_>) {
    let expected = [("ada@example.com", 4), ("bob@example.com", 3)];
    let mails = eventually("a welcome, the confirmations and the cancellations", async || {
        Some(shop.mails().await).filter(|mails| mails.len() >= 7)
    })
    .await;
    for (address, count) in expected {
        assert_eq!(
            mails.iter().filter(|(to, _)| to == address).count(),
            count,
            "{mails:?}"
        );
    }
    assert_eq!(mails.len(), 7, "{mails:?}");
}

async fn audit_is_exact(shop: &Shop<'_>, [kept, returned, dropped]: [&str; 3], pot: &str) {
    let (ada, bob, operator) = ("main:ada", "main:bob", "main:operator");
    let [placed, paid, cancelled] = [
        "plumbline.order.placed",
        "plumbline.order.paid",
        "plumbline.order.cancelled",
    ];
    for (order, timeline) in [
        (kept, vec![(1, placed, ada), (2, paid, operator)]),
        (
            returned,
            vec![(1, placed, bob), (2, paid, operator), (3, cancelled, bob)],
        ),
        (dropped, vec![(1, placed, ada), (2, cancelled, ada)]),
    ] {
        let expected: Vec<_> = timeline
            .into_iter()
            .map(|(version, kind, actor)| (version, kind.to_owned(), actor.to_owned()))
            .collect();
        let what = format!("the timeline of order {order}");
        eventually(&what, async || {
            Some(shop.timeline("order", order).await).filter(|timeline| *timeline == expected)
        })
        .await;
    }
    // Sold to the last one and put back: created, sold out, in stock again.
    let product: Vec<_> = eventually("the product's timeline", async || {
        Some(shop.timeline("product", pot).await).filter(|timeline| timeline.len() == 3)
    })
    .await;
    assert_eq!(
        product.iter().map(|(version, _, _)| *version).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(shop.timeline("stock", pot).await.len(), 4);
}

async fn a_cached_read_is_a_hit_and_a_write_is_visible_to_the_next_read(
    shop: &Shop<'_>,
    mug: &str,
    order: &str,
) {
    let path = format!("/v1/products/{mug}");
    shop.get(&path, &shop.operator).await;
    let cached = shop.get(&path, &shop.operator).await;
    assert!(cached.cache_status.contains("; hit"), "{}", cached.cache_status);
    for price in [1_300, 1_400] {
        shop.patch(&path, json!({"price_minor": price})).await;
        let next = shop.get(&path, &shop.operator).await;
        assert_eq!(next.body["price_minor"], price);
    }
    let ordered = shop
        .get(
            &format!("/v1/orders/{order}"),
            &shop.whole.stack.token("ada", "orders:write", None),
        )
        .await;
    assert_eq!(
        ordered.body["total_minor"],
        2 * 1_250 + 990,
        "a price change touches no order"
    );
}

async fn another_customers_order_does_not_exist(shop: &Shop<'_>, order: &str, other: &str) {
    let path = format!("/v1/orders/{order}");
    assert_eq!(shop.get(&path, other).await.status, StatusCode::NOT_FOUND);
    let anonymous = shop
        .whole
        .http
        .get(format!("{}{path}", shop.whole.gateway()))
        .send()
        .await
        .unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_go_on_without_redis_and_without_kafka() {
    let mut whole = whole::start("outages", vec![]).await;
    whole.stack.kill_server(Server::Redis).unwrap();
    whole.stack.kill_server(Server::Kafka).unwrap();
    let orders = {
        let shop = Shop::open(&whole);
        let mug = shop.product("MUG-1", 1_250, 1_000).await;
        let ada = shop.customer("ada").await;
        let mut orders = Vec::new();
        for _ in 0..20 {
            let order = shop.order(&ada, &[(&mug, 1)]).await;
            shop.pay(&order).await;
            assert_eq!(
                shop.get(&format!("/v1/products/{mug}"), &ada).await.status,
                StatusCode::OK
            );
            orders.push(order);
        }
        orders
    };
    whole.stack.start_server(Server::Kafka).await.unwrap();
    whole.stack.start_server(Server::Redis).await.unwrap();
    let shop = Shop::open(&whole);
    for order in &orders {
        let timeline = eventually("the backlog to arrive", async || {
            Some(shop.timeline("order", order).await).filter(|timeline| timeline.len() >= 2)
        })
        .await;
        let versions: Vec<_> = timeline.iter().map(|(version, _, _)| *version).collect();
        assert_eq!(versions, [1, 2], "each version once, in order");
    }
    whole.down().await;
}
