//! What is read while Redis or PostgreSQL is gone.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::json;
use testkit::{Mood, Proxy, RedisServer};
use uuid::Uuid;

use crate::shop::{Reply, Shop, answer, merchandiser};

/// The shop's database, as a superuser sees it from another one.
struct Server {
    conn: AsyncPgConnection,
    database: String,
}

impl Server {
    async fn of(shop: &Shop) -> Server {
        let url = shop.database.superuser_url();
        let (server, database) = url.rsplit_once('/').unwrap();
        let elsewhere = format!("{server}/postgres");
        Server {
            conn: database::dedicated(&elsewhere, "test").await.unwrap(),
            database: database.to_owned(),
        }
    }

    /// From now on the database ends every connection and takes none.
    async fn stop(&mut self) {
        let database = &self.database;
        let refuse = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false");
        let end =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        for statement in [refuse, end] {
            self.conn.batch_execute(&statement).await.unwrap();
        }
    }

    async fn start(&mut self) {
        let start = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.database);
        self.conn.batch_execute(&start).await.unwrap();
    }
}

#[tokio::test]
async fn while_postgresql_is_down_what_is_cached_is_answered_and_the_rest_is_a_503() {
    // A watermark of its own, which nobody confirms when the database is down: after 7 s entries have to be loaded again.
    let shop = Shop::open_with(&[("CACHE_STALENESS_BOUND", "7s")]).await;
    let cached = format!("/v1/products/{}", shop.product(1, json!({})).await);
    let never_read = format!("/v1/products/{}", shop.product(1, json!({})).await);
    let read = async |path: &str| answer(shop.request(&Caller::anonymous(), Method::GET, path)).await;
    // One product of both.
    let listed = "/v1/products?limit=1";
    shop.until_invalidated().await;
    for path in [&cached, listed] {
        until_hit(&shop, path).await;
    }

    let mut server = Server::of(&shop).await;
    server.stop().await;
    for path in [&cached, listed] {
        testkit::eventually("it is answered although it can't be loaded again", async || {
            let reply = read(path).await.expect(StatusCode::OK);
            let product = if path == listed {
                &reply.body["items"][0]
            } else {
                &reply.body
            };
            assert_eq!(product["price_minor"], 1250, "{}", reply.body);
            (reply.header("cache-status") == "plumbline; hit; detail=stale-if-error").then_some(())
        })
        .await;
    }
    let refused = read(&never_read).await.expect_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    let change = shop
        .request(&merchandiser(), Method::PATCH, &cached)
        .json(&json!({"price_minor": 1}));
    answer(change).await.expect_problem(503, "overloaded");

    server.start().await;
    shop.patch(&merchandiser(), &cached, json!({"price_minor": 1}))
        .await
        .expect(StatusCode::OK);
    // A load that began while it was down may still fail.
    testkit::eventually("the change is read", async || {
        let reply = read(&cached).await;
        (reply.status == StatusCode::OK && reply.body["price_minor"] == 1).then_some(())
    })
    .await;
    testkit::eventually("what was never read is", async || {
        (read(&never_read).await.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn more_loads_than_the_database_is_given_are_a_503_that_says_when_to_come_back() {
    // One load at once, and a hundred that wait for it.
    let settings = [("DB_MAX_CONNECTIONS", "2"), ("REDIS_URL", "redis://127.0.0.1:1")];
    let shop = Shop::open_with(&settings).await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE product IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let mut replies: FuturesUnordered<_> = (0..150)
        .map(|_| {
            let path = format!("/v1/products/{}", Uuid::now_v7());
            answer(shop.request(&Caller::anonymous(), Method::GET, &path))
        })
        .collect();
    // They are refused while nothing moves.
    for _ in 0..49 {
        let refused = replies.next().await.unwrap().expect_problem(503, "overloaded");
        assert_eq!(refused.header("retry-after"), "1");
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    let mut loaded = 0;
    while let Some(reply) = replies.next().await {
        match reply.status {
            StatusCode::NOT_FOUND => loaded += 1,
            // It had waited for a second.
            _ => drop(reply.expect_problem(503, "overloaded")),
        }
    }
    assert!(loaded > 0, "the one that loaded has its answer");
}

async fn read(shop: &Shop, path: &str) -> Reply {
    answer(shop.request(&Caller::anonymous(), Method::GET, path)).await
}

async fn until_hit(shop: &Shop, path: &str) {
    testkit::eventually("it is cached", async || {
        (read(shop, path).await.header("cache-status") == "plumbline; hit").then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_crash_between_commit_and_invalidation_the_tail_invalidates() {
    let redis = std::env::var("PLUMBLINE_TEST_REDIS").expect("run `cargo stack test`");
    let proxy = Proxy::before(&redis).await.unwrap();
    // The age of a watermark must not have it loaded again.
    let settings = [
        ("REDIS_URL", proxy.url()),
        ("REDIS_COMMAND_TIMEOUT", "1s"),
        ("CACHE_STALENESS_BOUND", "0s"),
    ];
    let mut shop = Shop::open_with(&settings).await;
    let product = format!("/v1/products/{}", shop.product(1, json!({})).await);
    until_hit(&shop, &product).await;

    proxy.set(Mood::Closed);
    shop.patch(&merchandiser(), &product, json!({"price_minor": 990}))
        .await
        .expect(StatusCode::OK);
    shop.kill_and_start_again();
    proxy.set(Mood::Open);
    testkit::eventually("the new price is in Redis", async || {
        let reply = read(&shop, &product).await;
        match reply.header("cache-status") {
            "plumbline; hit" | "plumbline; fwd=miss; stored" => {
                (reply.body["price_minor"] == 990).then_some(())
            }
            // Then it would be loaded again because it is old.
            "plumbline; hit; detail=stale-while-revalidate" => panic!("nobody invalidated it"),
            // Redis is not reached yet.
            _ => None,
        }
    })
    .await;
}

#[tokio::test]
async fn the_first_page_of_products_is_cached_and_shows_each_change_at_once() {
    let shop = Shop::open().await;
    let first = shop.product(1, json!({})).await;
    let page = "/v1/products?limit=5";
    until_hit(&shop, page).await;
    let product = format!("/v1/products/{first}");
    shop.patch(&merchandiser(), &product, json!({"price_minor": 990}))
        .await
        .expect(StatusCode::OK);
    let reply = read(&shop, page).await;
    assert_eq!(reply.body["items"][0]["price_minor"], 990, "{}", reply.body);
    // The list of ids was a hit, and its product was loaded. It is not stored when the tail invalidates it once more meanwhile.
    let status = reply.header("cache-status");
    assert!(status.starts_with("plumbline; fwd=miss"), "{status}");

    until_hit(&shop, page).await;
    let second = shop.product(1, json!({})).await;
    let ids = |reply: &Reply| -> Vec<String> {
        let items = reply.body["items"].as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let reply = read(&shop, page).await;
    assert!(ids(&reply).contains(&second), "{}", reply.body);
    shop.patch(&merchandiser(), &product, json!({"status": "discontinued"}))
        .await
        .expect(StatusCode::OK);
    let reply = read(&shop, page).await;
    assert_eq!(ids(&reply), [second], "{}", reply.body);
}

#[tokio::test]
async fn how_long_an_invalidation_took_is_known_only_when_redis_acknowledged_it() {
    let redis = std::env::var("PLUMBLINE_TEST_REDIS").expect("run `cargo stack test`");
    for (redis, result, known) in [
        (redis.as_str(), "inline", true),
        ("redis://127.0.0.1:1", "failed", false),
    ] {
        let admin = format!("127.0.0.1:{}", RedisServer::free_port());
        let shop = Shop::open_with(&[("REDIS_URL", redis), ("ADMIN_ADDR", &admin)]).await;
        let product = format!("/v1/products/{}", shop.product(1, json!({})).await);
        let metrics = async || {
            let answer = reqwest::get(format!("http://{admin}/metrics")).await.unwrap();
            answer.text().await.unwrap()
        };
        testkit::eventually("writes have told the cache", async || {
            shop.patch(&merchandiser(), &product, json!({"price_minor": 2}))
                .await
                .expect(StatusCode::OK);
            let counted = metrics().await.lines().any(|line| {
                line.starts_with("cache_invalidations_total")
                    && line.contains(result)
                    && !line.ends_with(" 0")
            });
            counted.then_some(())
        })
        .await;
        shop.patch(&merchandiser(), &product, json!({"price_minor": 1}))
            .await
            .expect(StatusCode::OK);
        let metrics = metrics().await;
        let mut lags = metrics
            .lines()
            .filter(|line| line.starts_with("cache_invalidation_lag_seconds") && line.contains("inline"));
        assert_eq!(lags.next().is_some(), known, "{metrics}");
    }
}
