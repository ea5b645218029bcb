//! A product follows its stock only when it sells out or is back: otherwise each sale would change the product, its ETag
//! and its cache entry.

use diesel_async::AsyncPgConnection;
use domain::{Availability, Stock};
use envelope::Fact;
use events::fact;

use crate::models::product;
use crate::trouble::Trouble;

/// A stock's change.
pub(crate) struct Moved {
    pub(crate) previous_quantity: i64,
    pub(crate) stock: Stock,
}

/// Updates the products whose availability the changes flip, and states it. Locks come in the same order everywhere, or
/// two transactions wait for each other: all stock by product id, then products by id. `moved` is sorted by product id.
pub(crate) async fn follow_in_txn(
    conn: &mut AsyncPgConnection,
    moved: &[Moved],
) -> Result<Vec<Fact>, Trouble> {
    let flips = moved
        .iter()
        .filter(|moved| Availability::of(moved.previous_quantity) != Availability::of(moved.stock.quantity));
    let mut facts = Vec::new();
    for Moved { stock, .. } in flips {
        let before = product::lock_in_txn(conn, stock.product_id).await?;
        let after = before
            .as_ref()
            .and_then(|before| before.with_stock(stock.quantity));
        if let (Some(before), Some(after)) = (before, after) {
            product::update_in_txn(conn, &after).await?;
            facts.push(fact::product_changed(&before, &after));
        }
    }
    Ok(facts)
}
