use actix_web::web::{Data, Path};
use chassis::Problem;
use diesel_async::AsyncPgConnection;
use domain::{Order, OrderId};
use events::{StockCause, fact};

use super::answer;
use crate::answer::Answer;
use crate::api::scopes::{ORDERS_FULFIL, ORDERS_WRITE};
use crate::app::App;
use crate::availability::{self, Moved};
use crate::call::Call;
use crate::models::customer::Reach;
use crate::models::{order, stock};
use crate::refusal::{self, not_found};
use crate::trouble::Trouble;
use crate::write::{Decided, write};

/// `POST /v1/orders/{id}/cancellation`: puts the goods back into stock. Customers cancel their own orders; whoever
/// fulfils orders, any.
pub(crate) async fn cancel(app: Data<App>, call: Call, id: Path<OrderId>) -> Result<Answer, Problem> {
    let reach = if call.caller.has(ORDERS_FULFIL) {
        Reach::Any
    } else {
        Reach::Own(&call.with_scope(ORDERS_WRITE)?.principal)
    };
    write(&app, &call, async |conn| {
        let order = order::lock_in_txn(conn, *id, reach).await?;
        let order = order.ok_or_else(|| not_found("order"))?;
        let cancelled = order.cancel(call.at).map_err(refusal::order)?;
        order::update_in_txn(conn, &cancelled).await?;
        let moved = put_back_in_txn(conn, &cancelled).await?;

        let mut facts = vec![fact::order_cancelled(&cancelled)];
        let adjusted = moved.iter();
        facts.extend(
            adjusted.map(|moved| {
                fact::stock_adjusted(moved.previous_quantity, &moved.stock, StockCause::Restock)
            }),
        );
        facts.extend(availability::follow_in_txn(conn, &moved).await?);
        Ok(Decided::new(answer(&cancelled), facts))
    })
    .await
}

/// In the order of the lines, which is by product id: everyone locks stock in that order.
async fn put_back_in_txn(conn: &mut AsyncPgConnection, order: &Order) -> Result<Vec<Moved>, Trouble> {
    let mut moved = Vec::with_capacity(order.lines.len());
    for line in &order.lines {
        let stock = stock::put_back_in_txn(conn, line.product_id, line.quantity).await?;
        moved.push(Moved {
            previous_quantity: stock.quantity - line.quantity.get(),
            stock,
        });
    }
    Ok(moved)
}
