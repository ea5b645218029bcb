//! Takes goods out of stock by reading how many there are and writing what is left.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::sync::Barrier;

use crate::shop::number;

/// Sells one of `product` for the order whose row is there already, if one is left. Everybody reads before anybody
/// writes, which is what many at once come to without the barrier.
pub(crate) async fn sell(mut conn: AsyncPgConnection, product: &str, order: &str, everybody: &Barrier) {
    conn.batch_execute("BEGIN").await.unwrap();
    let left = format!("SELECT quantity AS value FROM stock WHERE product_id = '{product}'");
    let left = number(&mut conn, &left).await;
    everybody.wait().await;
    if left >= 1 {
        conn.batch_execute(&format!(
            "UPDATE stock SET quantity = {left} - 1, version = version + 1 WHERE product_id = '{product}';
             INSERT INTO order_line VALUES ('{order}', '{product}', 1, 100);"
        ))
        .await
        .unwrap();
    }
    conn.batch_execute("COMMIT").await.unwrap();
}
