//! What fails around the process, and how little of it a client sees.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::json;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::shop::{Shop, answer, cashier, merchandiser, shopper};

/// One more of a product, sent once, whatever the answer.
fn adjustment(shop: &Shop, path: &str) -> reqwest::RequestBuilder {
    shop.request(&merchandiser(), Method::POST, path)
        .json(&json!({"delta": 1}))
}

#[tokio::test]
async fn without_redis_and_without_kafka_reads_and_writes_succeed() {
    let shop = Shop::open_with(&[("REDIS_URL", "redis://127.0.0.1:1")]).await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(1, json!({})).await;
    let path = format!("/v1/products/{mug}");
    let read = shop.get(&Caller::anonymous(), &path).await.expect(StatusCode::OK);
    assert_eq!(read.header("cache-status"), "plumbline; fwd=bypass");

    let order = shop
        .order(&ada, &[(&mug, 1)])
        .await
        .expect(StatusCode::CREATED)
        .id();
    shop.post(&cashier(), &format!("/v1/orders/{order}/payment"), json!({}))
        .await
        .expect(StatusCode::OK);
    shop.patch(&merchandiser(), &path, json!({"price_minor": 1}))
        .await
        .expect(StatusCode::OK);
    let read = shop
        .get(&Caller::anonymous(), &path)
        .await
        .expect(StatusCode::OK)
        .body;
    assert_eq!(
        (&read["price_minor"], &read["availability"]),
        (&json!(1), &json!("sold_out"))
    );
    shop.check_facts().await;
}

#[tokio::test]
async fn a_row_that_stays_locked_is_a_503_that_says_when_to_come_back() {
    let shop = Shop::open().await;
    let mug = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();

    let path = format!("/v1/products/{mug}/stock-adjustments");
    let reply = answer(adjustment(&shop, &path))
        .await
        .expect_problem(503, "overloaded");
    assert_eq!(reply.header("retry-after"), "1");

    holder.batch_execute("ROLLBACK").await.unwrap();
    shop.post(&merchandiser(), &path, json!({"delta": 1}))
        .await
        .expect(StatusCode::OK);
    shop.check_facts().await;
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_a_503_that_says_when_to_come_back() {
    let shop = Shop::open_with(&[("DB_MAX_CONNECTIONS", "1")]).await;
    let mug = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();

    let path = format!("/v1/products/{mug}/stock-adjustments");
    for reply in join_all((0..4).map(|_| answer(adjustment(&shop, &path)))).await {
        let reply = reply.expect_problem(503, "overloaded");
        assert_eq!(reply.header("retry-after"), "1");
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    shop.post(&merchandiser(), &path, json!({"delta": 1}))
        .await
        .expect(StatusCode::OK);
    assert_eq!(shop.quantity(&mug).await, 2);
    shop.check_facts().await;
}

#[tokio::test]
async fn a_request_ends_at_its_deadline_and_leaves_nothing_behind() {
    let shop = Shop::open().await;
    let mug = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();

    let path = format!("/v1/products/{mug}/stock-adjustments");
    let hurried = adjustment(&shop, &path).header("x-request-deadline-ms", "50");
    answer(hurried).await.expect_problem(504, "deadline-exceeded");

    holder.batch_execute("ROLLBACK").await.unwrap();
    let reply = shop
        .post(&merchandiser(), &path, json!({"delta": 1}))
        .await
        .expect(StatusCode::OK);
    assert_eq!(reply.body["quantity"], 2);
    shop.check_facts().await;
}

#[tokio::test]
async fn a_read_ends_at_its_deadline_whether_it_is_cached_or_not() {
    let shop = Shop::open().await;
    let mug = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    // Reads wait for this lock, and no other.
    holder
        .batch_execute("BEGIN; LOCK TABLE product, stock IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    // The first goes to the database always; the second because nobody has asked for the product before.
    let stock = format!("/v1/products/{mug}/stock");
    let product = format!("/v1/products/{mug}");
    for path in [&stock, &product] {
        let hurried = shop.request(&merchandiser(), Method::GET, path);
        let hurried = hurried.header("x-request-deadline-ms", "100");
        let late = answer(hurried).await.expect_problem(504, "deadline-exceeded");
        assert!(late.body["detail"].as_str().unwrap().contains("try again"));
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    for path in [&stock, &product] {
        shop.get(&merchandiser(), path).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_503_that_says_when_to_come_back() {
    let shop = Shop::open().await;
    let mug = shop.product(1, json!({})).await;
    let mut superuser = shop.superuser().await;
    // Longer than the 5 s that a statement of the process may take, and less than a request may.
    superuser
        .batch_execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep(9); RETURN NEW; END $$;
             CREATE TRIGGER dawdle BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION dawdle()",
        )
        .await
        .unwrap();
    let path = format!("/v1/products/{mug}/stock-adjustments");
    let refused = answer(adjustment(&shop, &path))
        .await
        .expect_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    superuser
        .batch_execute("DROP TRIGGER dawdle ON stock")
        .await
        .unwrap();
    let reply = shop.post(&merchandiser(), &path, json!({"delta": 1})).await;
    assert_eq!(
        reply.expect(StatusCode::OK).body["quantity"],
        2,
        "nothing was changed"
    );
    shop.check_facts().await;
}

#[tokio::test]
async fn a_request_that_ran_out_of_time_keeps_no_locks() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let first = shop.product(1, json!({})).await;
    let second = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    let lock = format!("BEGIN; SELECT FROM stock WHERE product_id = '{second}' FOR UPDATE");
    holder.batch_execute(&lock).await.unwrap();

    let line = |id: &str| json!({"product_id": id, "quantity": 1});
    let order = shop
        .request(&ada, Method::POST, "/v1/orders")
        .header("x-request-deadline-ms", "1500")
        .json(&json!({"lines": [line(&first), line(&second)]}));
    let order = tokio::spawn(answer(order));
    shop.wait_for_a_blocked_statement().await;
    // Makes the pool open another connection, which is then the first to be used again.
    shop.get(&merchandiser(), "/v1/products")
        .await
        .expect(StatusCode::OK);
    order.await.unwrap().expect_problem(504, "deadline-exceeded");

    // Now the statement that nobody waits for any more goes on.
    holder.batch_execute("ROLLBACK").await.unwrap();
    for product in [&first, &second] {
        let path = format!("/v1/products/{product}/stock-adjustments");
        let reply = answer(adjustment(&shop, &path)).await;
        assert_eq!(reply.expect(StatusCode::OK).body["quantity"], 2);
    }
    shop.check_facts().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_all_of_a_write_or_nothing() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(1_000, json!({})).await;
    let body = json!({"lines": [{"product_id": mug, "quantity": 1}]});
    for patience in 0..40 {
        let impatient = shop
            .request(&ada, Method::POST, "/v1/orders")
            .json(&body)
            .timeout(Duration::from_micros(500 * patience));
        // Whether it was answered or given up does not matter.
        let _ = impatient.send().await;
    }
    // Each order took one mug, and each change has its fact.
    testkit::eventually("the last writes have ended", async || {
        let orders = shop
            .facts()
            .await
            .iter()
            .filter(|fact| fact.kind == "plumbline.order.placed")
            .count();
        (shop.quantity(&mug).await == 1_000 - i64::try_from(orders).unwrap()).then_some(())
    })
    .await;
    shop.check_facts().await;
}

#[tokio::test]
async fn on_sigterm_the_process_answers_what_it_has_begun_and_ends_with_0() {
    let mut shop = Shop::open().await;
    let mug = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();

    let path = format!("/v1/products/{mug}/stock-adjustments");
    let begun = tokio::spawn(answer(adjustment(&shop, &path)));
    shop.wait_for_a_blocked_statement().await;
    shop.terminate();
    holder.batch_execute("ROLLBACK").await.unwrap();

    begun.await.unwrap().expect(StatusCode::OK);
    assert_eq!(shop.ended().await.code(), Some(0));
    assert_eq!(shop.quantity(&mug).await, 2);
}

#[tokio::test]
async fn whoever_finds_the_queue_for_connections_full_is_refused_at_once() {
    let shop = Shop::open_with(&[("DB_MAX_CONNECTIONS", "1"), ("DB_MAX_WAITING", "2")]).await;
    let mug = shop.product(1, json!({})).await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();

    let path = format!("/v1/products/{mug}/stock-adjustments");
    let mut replies: FuturesUnordered<_> = (0..8).map(|_| answer(adjustment(&shop, &path))).collect();
    // One works, two wait, and the others have their answers while nothing has moved.
    for _ in 0..5 {
        let refused = replies.next().await.unwrap().expect_problem(503, "overloaded");
        assert_eq!(refused.header("retry-after"), "1");
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    while let Some(reply) = replies.next().await {
        reply.expect(StatusCode::OK);
    }
    assert_eq!(shop.quantity(&mug).await, 1 + 3);
    // Nobody's place is lost.
    for reply in join_all((0..3).map(|_| answer(adjustment(&shop, &path)))).await {
        reply.expect(StatusCode::OK);
    }
    shop.check_facts().await;
}

#[tokio::test]
async fn a_commit_that_takes_too_long_has_an_unknown_outcome_that_a_repetition_learns() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(5, json!({})).await;
    let mut superuser = shop.superuser().await;
    superuser
        .batch_execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON orders
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()",
        )
        .await
        .unwrap();
    let order = || {
        shop.plain(&ada, Method::POST, "/v1/orders")
            .header("idempotency-key", "k")
            .json(&json!({"lines": [{"product_id": mug, "quantity": 1}]}))
    };
    let hurried = order().header("x-request-deadline-ms", "700");
    answer(hurried).await.expect_problem(500, "outcome-unknown");
    // It waits for the first, which goes on without its caller.
    answer(order()).await.expect(StatusCode::CREATED);
    assert_eq!(shop.quantity(&mug).await, 4);
    shop.check_facts().await;
}

#[tokio::test]
async fn a_body_that_dawdles_is_not_waited_for_beyond_the_deadline() {
    let shop = Shop::open().await;
    let request = adjustment(&shop, "/v1/products").build().unwrap();
    let assertion = request.headers()["x-plumbline-identity"].to_str().unwrap();
    let head = format!(
        "POST /v1/products HTTP/1.1\r\nhost: {}\r\nx-plumbline-identity: {assertion}\r\n\
         x-request-deadline-ms: 200\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{{",
        shop.address()
    );
    let mut stream = TcpStream::connect(shop.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:plumbline:problem:body-too-slow"), "{answer}");
}
