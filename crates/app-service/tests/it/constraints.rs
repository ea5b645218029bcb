//! What the tables refuse by themselves, and what the process's role may not do.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use crate::shop::{Shop, shopper};

const PRODUCT: &str = "0190aaaa-0000-7000-8000-000000000001";
const CUSTOMER: &str = "0190aaaa-0000-7000-8000-000000000002";
const ORDER: &str = "0190aaaa-0000-7000-8000-000000000003";

async fn refused(conn: &mut AsyncPgConnection, statement: &str) -> String {
    conn.batch_execute("BEGIN").await.unwrap();
    let outcome = conn.batch_execute(statement).await;
    let error = outcome.expect_err(statement).to_string();
    conn.batch_execute("ROLLBACK").await.unwrap();
    error
}

fn order(columns: &str) -> String {
    format!("UPDATE orders SET {columns} WHERE id = '{ORDER}'")
}

#[tokio::test]
async fn rows_that_break_a_rule_are_refused_by_the_tables() {
    let shop = Shop::open().await;
    let url = shop.database.superuser_url();
    let mut conn = database::dedicated(&url, "test").await.unwrap();
    conn.batch_execute(&format!(
        "INSERT INTO product VALUES ('{PRODUCT}', 'S-1', 'Mug', '', 100, 'EUR', 'active', 'in_stock', 1);
         INSERT INTO stock VALUES ('{PRODUCT}', 1, 1);
         INSERT INTO customer VALUES ('{CUSTOMER}', 'main:ada', 'ada@example.com', 'Ada', 1);
         INSERT INTO orders VALUES ('{ORDER}', '{CUSTOMER}', 'placed', 'EUR', 100, now(), NULL, NULL, NULL, 1);
         INSERT INTO order_line VALUES ('{ORDER}', '{PRODUCT}', 1, 100);"
    ))
    .await
    .unwrap();

    let statements = [
        "UPDATE product SET price_minor = -1".to_owned(),
        "UPDATE product SET price_minor = 9007199254740992".to_owned(),
        "UPDATE product SET currency = 'eur'".to_owned(),
        "UPDATE product SET status = 'gone'".to_owned(),
        "UPDATE product SET availability = 'maybe'".to_owned(),
        "UPDATE product SET version = 0".to_owned(),
        "UPDATE product SET sku = ''".to_owned(),
        "UPDATE product SET name = ''".to_owned(),
        "UPDATE product SET description = repeat('x', 5001)".to_owned(),
        "INSERT INTO product SELECT gen_random_uuid(), sku, name, description, price_minor, currency, status, availability, 1 FROM product".to_owned(),
        "UPDATE stock SET quantity = -1".to_owned(),
        "UPDATE stock SET version = 0".to_owned(),
        "INSERT INTO stock VALUES (gen_random_uuid(), 1, 1)".to_owned(),
        "INSERT INTO customer SELECT gen_random_uuid(), principal, email, name, 1 FROM customer".to_owned(),
        "UPDATE customer SET principal = 'ada'".to_owned(),
        "UPDATE customer SET email = 'ada'".to_owned(),
        order("total_minor = -1"),
        order("version = 0"),
        order("customer_id = gen_random_uuid()"),
        order("status = 'lost'"),
        order("status = 'paid'"),
        order("paid_at = now()"),
        order("status = 'cancelled'"),
        order("status = 'cancelled', cancelled_at = now()"),
        order("status = 'cancelled', cancelled_at = now(), reason = 'whim'"),
        order("status = 'paid', paid_at = now(), cancelled_at = now()"),
        order("status = 'paid', paid_at = now(), shipped_at = now()"),
        order("shipped_at = now()"),
        order("status = 'shipped', shipped_at = now()"),
        order("status = 'shipped', paid_at = now()"),
        order("status = 'shipped', paid_at = now(), shipped_at = now(), reason = 'customer'"),
        order("status = 'cancelled', reason = 'expired'"),
        order("status = 'cancelled', cancelled_at = now(), reason = 'expired', paid_at = now()"),
        order("status = 'cancelled', cancelled_at = now(), reason = 'customer', paid_at = now(), shipped_at = now()"),
        order("status = 'paid', paid_at = placed_at - interval '1 us'"),
        order("status = 'cancelled', cancelled_at = placed_at - interval '1 us', reason = 'expired'"),
        order("status = 'cancelled', paid_at = now() + interval '1 s', cancelled_at = now(), reason = 'customer'"),
        order("status = 'shipped', paid_at = now() + interval '1 s', shipped_at = now()"),
        "UPDATE order_line SET quantity = 0".to_owned(),
        "UPDATE order_line SET unit_price_minor = -1".to_owned(),
        "INSERT INTO order_line SELECT * FROM order_line".to_owned(),
        "UPDATE order_line SET product_id = gen_random_uuid()".to_owned(),
        "DELETE FROM product".to_owned(),
        "DELETE FROM customer".to_owned(),
        "DELETE FROM orders".to_owned(),
    ];
    for statement in statements {
        let error = refused(&mut conn, &statement).await;
        assert!(
            error.contains("violates") || error.contains("duplicate key"),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn every_state_of_an_order_has_a_row() {
    let shop = Shop::open().await;
    let mut conn = shop.superuser().await;
    conn.batch_execute(&format!(
        "INSERT INTO customer VALUES ('{CUSTOMER}', 'main:ada', 'ada@example.com', 'Ada', 1);
         INSERT INTO orders VALUES ('{ORDER}', '{CUSTOMER}', 'placed', 'EUR', 100, now(), NULL, NULL, NULL, 1);"
    ))
    .await
    .unwrap();
    for state in [
        "status = 'paid', paid_at = now()",
        "status = 'shipped', paid_at = now(), shipped_at = now()",
        "status = 'cancelled', cancelled_at = now(), reason = 'customer'",
        "status = 'cancelled', cancelled_at = now(), reason = 'customer', paid_at = now()",
        "status = 'cancelled', cancelled_at = now(), reason = 'expired'",
    ] {
        let accepted = conn
            .batch_execute(&format!("BEGIN; {}; ROLLBACK", order(state)))
            .await;
        assert!(accepted.is_ok(), "{state}: {accepted:?}");
    }
}

#[tokio::test]
async fn the_process_s_role_may_do_what_the_process_does_and_no_more() {
    let shop = Shop::open().await;
    let mut conn = shop.database.connect().await;
    for statement in [
        "DELETE FROM product",
        "DELETE FROM orders",
        "DELETE FROM outbox",
        "UPDATE outbox SET actor = 'x'",
        "UPDATE product SET sku = 'S-2'",
        "UPDATE product SET currency = 'USD'",
        "UPDATE stock SET product_id = gen_random_uuid()",
        "UPDATE customer SET email = 'x@example.com'",
        "UPDATE orders SET total_minor = 0",
        "UPDATE orders SET customer_id = gen_random_uuid()",
        "UPDATE orders SET placed_at = now()",
        "UPDATE order_line SET quantity = 1",
        "DELETE FROM order_line",
        "TRUNCATE stock",
        "CREATE TABLE mine (id int)",
        "ALTER TABLE product ADD COLUMN more text",
        "DROP TABLE stock",
    ] {
        let error = refused(&mut conn, statement).await;
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{statement}: {error}"
        );
    }
}

/// Up and down, in the order in which they are applied.
macro_rules! migrations {
    ($($folder:literal),* $(,)?) => {
        [$((
            include_str!(concat!("../../../../migrations/app/", $folder, "/up.sql")),
            include_str!(concat!("../../../../migrations/app/", $folder, "/down.sql")),
        )),*]
    };
}

const STOREFRONT: [(&str, &str); 6] = migrations![
    "2026-01-01-000100_storefront",
    "2026-11-28-000100_order_states",
    "2026-11-28-000101_order_states_checked",
    "2026-11-28-000102_orders_unpaid",
    "2026-11-28-000103_product_status",
    "2026-11-28-000104_product_active_gone",
];

#[tokio::test]
async fn the_storefront_s_migrations_go_down_and_up_again() {
    let shop = Shop::open().await;
    let mut owner = database::dedicated(&shop.database.owner_url(), "test")
        .await
        .unwrap();
    let downs = STOREFRONT.iter().rev().map(|(_, down)| down);
    let ups = STOREFRONT.iter().map(|(up, _)| up);
    for script in downs.chain(ups) {
        let done = owner.batch_execute(script).await;
        assert!(done.is_ok(), "{script}: {done:?}");
    }
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mug = shop.product(1, serde_json::json!({})).await;
    shop.order(&ada, &[(&mug, 1)])
        .await
        .expect(reqwest::StatusCode::CREATED);
}
