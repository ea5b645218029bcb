use actix_web::web::Data;
use chassis::Problem;
use domain::OrderId;

use super::{OrderBody, answer};
use crate::answer::Answer;
use crate::api::scopes::{ORDERS_FULFIL, ORDERS_WRITE};
use crate::app::App;
use crate::call::Call;
use crate::cancellation;
use crate::models::customer::Reach;
use crate::models::order;
use crate::path::Id;
use crate::post::Post;
use crate::read::read;
use crate::refusal::{self, not_found};
use crate::write::{Decided, write_once};

/// `POST /v1/orders/{id}/cancellation`: puts the goods back into stock. Customers cancel their own orders; whoever
/// fulfils orders, any.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/cancellation",
    tag = "orders",
    summary = "Cancel an order",
    description = "Puts the goods back into stock. One's own with `orders:write`, any with `orders:fulfil`.",
    responses((status = 200, description = "The order as it is now.", body = OrderBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = [])),
    extensions(("x-problems" = json!(["order-not-cancellable", "insufficient-scope"]))),
)]
pub(crate) async fn cancel(
    app: Data<App>,
    call: Call,
    id: Id<OrderId>,
    post: Post,
) -> Result<Answer, Problem> {
    let reach = if call.caller.has(ORDERS_FULFIL) {
        Reach::Any
    } else {
        Reach::Own(&call.with_scope(ORDERS_WRITE)?.principal)
    };
    post.empty()?;
    // Before the key is looked at: its answer may be from a time when the caller had more rights.
    read(&app, &call, async |conn| order::find(conn, *id, reach).await)
        .await?
        .ok_or_else(|| not_found("order"))?;
    write_once(&app, &call, &post, async |conn| {
        let order = order::lock_in_txn(conn, *id, reach).await?;
        let order = order.ok_or_else(|| not_found("order"))?;
        let cancelled = order.cancel(call.at).map_err(refusal::order)?;
        let facts = cancellation::write_in_txn(conn, &cancelled).await?;
        Ok(Decided::new(answer(&cancelled), facts))
    })
    .await
}
