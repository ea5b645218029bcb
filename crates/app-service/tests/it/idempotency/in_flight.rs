//! A use of a key that has no answer yet: others wait for it, and it may come to nothing.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use identity::Caller;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{count, keyed, one, post, scene, stored};
use crate::shop::{Shop, answer};

#[tokio::test]
async fn a_second_use_waits_for_the_first_and_gets_its_answer() {
    let (shop, ada, mug) = scene().await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();
    let requests = (0..4).map(|_| answer(keyed(&shop, &ada, "/v1/orders", "k", &one(&mug))));
    let release = async {
        shop.wait_for_blocked_statements(4).await;
        holder.batch_execute("ROLLBACK").await.unwrap();
    };
    let (replies, ()) = tokio::join!(join_all(requests), release);
    let first = stored(&replies[0]);
    assert_eq!(first.0, StatusCode::CREATED, "{}", first.1);
    assert!(replies.iter().all(|reply| stored(reply) == first), "{replies:?}");
    assert_eq!(shop.quantity(&mug).await, 9);
    shop.check_facts().await;
}

#[tokio::test]
async fn a_key_in_use_is_a_409_that_says_when_to_come_back() {
    let (shop, ada, mug) = scene().await;
    let mut first = shop.superuser().await;
    let claim = "BEGIN; INSERT INTO idempotency_key (principal, key, fingerprint)
                 VALUES ('main:ada', 'k', sha256(''))";
    first.batch_execute(claim).await.unwrap();
    let refused = post(&shop, &ada, "/v1/orders", "k", &one(&mug)).await;
    let refused = refused.expect_problem(409, "idempotency-key-in-use");
    assert_eq!(refused.header("retry-after"), "1");
    // The first use came to nothing.
    first.batch_execute("ROLLBACK").await.unwrap();
    post(&shop, &ada, "/v1/orders", "k", &one(&mug))
        .await
        .expect(StatusCode::CREATED);
    shop.check_facts().await;
}

#[tokio::test]
async fn trouble_is_not_an_answer() {
    let (shop, ada, mug) = scene().await;
    let mut holder = shop.superuser().await;
    holder
        .batch_execute("BEGIN; SELECT FROM stock FOR UPDATE")
        .await
        .unwrap();
    post(&shop, &ada, "/v1/orders", "k", &one(&mug))
        .await
        .expect_problem(503, "overloaded");
    let hurried = keyed(&shop, &ada, "/v1/orders", "k", &one(&mug)).header("x-request-deadline-ms", "50");
    answer(hurried).await.expect_problem(504, "deadline-exceeded");
    holder.batch_execute("ROLLBACK").await.unwrap();
    // The connection of the hurried request may take a moment to close.
    let placed = testkit::eventually("the key is free", async || {
        let reply = post(&shop, &ada, "/v1/orders", "k", &one(&mug)).await;
        (reply.status == StatusCode::CREATED).then_some(reply)
    })
    .await;
    let again = post(&shop, &ada, "/v1/orders", "k", &one(&mug)).await;
    assert_eq!(stored(&again), stored(&placed));
    assert_eq!(shop.quantity(&mug).await, 9);
    shop.check_facts().await;
}

/// Sends the request, and never reads an answer.
async fn send_only(shop: &Shop, caller: &Caller, key: &str, body: &Value) -> TcpStream {
    let request = keyed(shop, caller, "/v1/orders", key, body).build().unwrap();
    let mut head = format!("POST /v1/orders HTTP/1.1\r\nhost: {}\r\n", shop.address());
    for (name, value) in request.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    let body = request.body().unwrap().as_bytes().unwrap();
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(shop.address()).await.unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_process_that_dies_before_it_answers_has_done_it_once_or_not_at_all() {
    let (mut shop, ada, mug) = scene().await;
    // After COMMIT, and then at moments around it.
    let mut committed = 0;
    for round in 0..5_u64 {
        let key = format!("k{round}");
        let unread = send_only(&shop, &ada, &key, &one(&mug)).await;
        if round == 0 {
            testkit::eventually("the order is committed", async || {
                (count(&shop, "orders").await == 1).then_some(())
            })
            .await;
        } else {
            // A random moment by intent: whatever the process was at when it died, what follows must hold.
            tokio::time::sleep(Duration::from_millis(2 * round)).await;
        }
        shop.kill_and_start_again();
        drop(unread);
        committed += i32::from(count(&shop, "orders").await == i64::try_from(round).unwrap() + 1);
        let answers: Vec<_> = [
            post(&shop, &ada, "/v1/orders", &key, &one(&mug)).await,
            post(&shop, &ada, "/v1/orders", &key, &one(&mug)).await,
        ]
        .iter()
        .map(stored)
        .collect();
        assert_eq!(answers[0].0, StatusCode::CREATED, "{}", answers[0].1);
        assert_eq!(answers[0], answers[1]);
        assert_eq!(count(&shop, "orders").await, i64::try_from(round).unwrap() + 1);
    }
    assert!(committed >= 1);
    assert_eq!(shop.quantity(&mug).await, 5);
    shop.check_facts().await;
}
