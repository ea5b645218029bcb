//! What a cancellation writes, whoever decided on it: the order's row, the goods that are back, and the products that
//! are no longer sold out.

use diesel_async::AsyncPgConnection;
use domain::Order;
use envelope::Fact;
use events::{StockCause, fact};

use crate::availability::{self, Moved};
use crate::models::{order, stock};
use crate::trouble::Trouble;

/// Writes an order that this transaction has locked and that is now cancelled, puts its goods back, and returns what
/// there is to say about it. Locks stock in the order of the lines, which is by product id, as everyone does.
pub(crate) async fn write_in_txn(
    conn: &mut AsyncPgConnection,
    cancelled: &Order,
) -> Result<Vec<Fact>, Trouble> {
    order::update_in_txn(conn, cancelled).await?;
    let mut facts = vec![fact::order_cancelled(cancelled)];
    let mut moved = Vec::with_capacity(cancelled.lines.len());
    for line in &cancelled.lines {
        let stock = stock::put_back_in_txn(conn, line.product_id, line.quantity).await?;
        let previous_quantity = stock.quantity - line.quantity.get();
        facts.push(fact::stock_adjusted(
            previous_quantity,
            &stock,
            StockCause::Restock,
        ));
        moved.push(Moved {
            previous_quantity,
            stock,
        });
    }
    facts.extend(availability::follow_in_txn(conn, &moved).await?);
    Ok(facts)
}
