//! The table of keys: what it keeps, for how long, and what it refuses.

use diesel_async::SimpleAsyncConnection as _;
use reqwest::StatusCode;
use serde_json::json;

use super::{count, one, post, stored};
use crate::shop::{Shop, shopper};

#[tokio::test]
async fn keys_are_kept_for_a_day_and_then_deleted() {
    let shop = Shop::open_with(&[("IDEMPOTENCY_SWEEP_INTERVAL", "50ms")]).await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(10, json!({})).await;
    let young = post(&shop, &ada, "/v1/orders", "young", &one(&mug))
        .await
        .expect(StatusCode::CREATED);
    let old = post(&shop, &ada, "/v1/orders", "old", &one(&mug))
        .await
        .expect(StatusCode::CREATED);
    let mut conn = shop.superuser().await;
    // More than one chunk, and a row that somebody holds is passed over.
    conn.batch_execute("BEGIN").await.unwrap();
    conn.batch_execute(
        "UPDATE idempotency_key SET created_at = now() - interval '23 hours 59 minutes';
         UPDATE idempotency_key SET created_at = now() - interval '24 hours 1 minute' WHERE key = 'old';
         INSERT INTO idempotency_key (principal, key, fingerprint, status, body, created_at)
         SELECT 'main:ada', 'many-' || n, sha256(''), 200, '', now() - interval '2 days' FROM generate_series(1, 2500) n",
    )
    .await
    .unwrap();
    let hold = "COMMIT; BEGIN; SELECT FROM idempotency_key WHERE key = 'many-7' FOR UPDATE";
    conn.batch_execute(hold).await.unwrap();
    let many = "idempotency_key WHERE key LIKE 'many-%'";
    testkit::eventually("all are deleted, maybe but the held one", async || {
        (count(&shop, many).await <= 1).then_some(())
    })
    .await;
    conn.batch_execute("COMMIT").await.unwrap();
    testkit::eventually("the last one is deleted", async || {
        (count(&shop, many).await == 0).then_some(())
    })
    .await;

    let again = post(&shop, &ada, "/v1/orders", "young", &one(&mug)).await;
    assert_eq!(stored(&again), stored(&young));
    let anew = post(&shop, &ada, "/v1/orders", "old", &one(&mug))
        .await
        .expect(StatusCode::CREATED);
    assert_ne!(anew.id(), old.id());
    shop.check_facts().await;
}

#[tokio::test]
async fn rows_that_are_no_answer_are_refused_by_the_table() {
    let shop = Shop::open().await;
    let mut conn = shop.superuser().await;
    let insert = |columns: &str, values: &str| {
        format!("INSERT INTO idempotency_key (principal, key, fingerprint{columns}) VALUES ({values})")
    };
    let sound = "'main:ada', 'k', sha256('')";
    let statements = [
        insert("", "'ada', 'k', sha256('')"),
        insert("", "'main:ada', '', sha256('')"),
        insert("", "'main:ada', 'a b', sha256('')"),
        insert("", "'main:ada', repeat('k', 65), sha256('')"),
        insert("", "'main:ada', 'k', 'short'"),
        insert(", status", &format!("{sound}, 200")),
        insert(", body", &format!("{sound}, ''")),
        insert(", etag", &format!("{sound}, '\"1-1\"'")),
        insert(", status, body", &format!("{sound}, 403, ''")),
        insert(", status, body", &format!("{sound}, 429, ''")),
        insert(", status, body", &format!("{sound}, 503, ''")),
        insert(
            ", status, body",
            &format!("{sound}, 200, convert_to(repeat('x', 65537), 'UTF8')"),
        ),
        insert(
            ", status, body, location",
            &format!("{sound}, 200, '', repeat('x', 257)"),
        ),
        insert(
            ", status, body, etag",
            &format!("{sound}, 200, '', repeat('x', 65)"),
        ),
    ];
    for statement in statements {
        let refused = conn.batch_execute(&statement).await.expect_err(&statement);
        assert!(
            refused.to_string().contains("check constraint"),
            "{statement}: {refused}"
        );
    }
    conn.batch_execute(&insert(
        ", status, body, etag",
        &format!("{sound}, 200, '{{}}', '\"1-1\"'"),
    ))
    .await
    .unwrap();

    // What the process itself may not do.
    let mut process = shop.database.connect().await;
    for statement in [
        "UPDATE idempotency_key SET fingerprint = sha256('x')",
        "UPDATE idempotency_key SET created_at = now()",
        "INSERT INTO idempotency_key (principal, key, fingerprint, created_at) VALUES ('main:a', 'k', sha256(''), now())",
        "TRUNCATE idempotency_key",
    ] {
        let refused = process.batch_execute(statement).await.expect_err(statement);
        assert!(
            refused.to_string().contains("permission denied"),
            "{statement}: {refused}"
        );
    }
}
