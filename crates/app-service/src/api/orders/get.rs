use actix_web::web::Data;
use chassis::Problem;
use domain::OrderId;

use super::{OrderBody, answer};
use crate::answer::Answer;
use crate::api::scopes::ORDERS_READ_ANY;
use crate::app::App;
use crate::call::Call;
use crate::models::customer::Reach;
use crate::models::order;
use crate::path::Id;
use crate::query::Query;
use crate::read::read;
use crate::refusal::not_found;

/// `GET /v1/orders/{id}`: one's own, or any with `orders:read:any`. Never cached: a customer reads what they just did.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}",
    tag = "orders",
    summary = "Read an order",
    description = "One's own, or any with `orders:read:any`. Never from a cache.",
    responses((status = 200, description = "The order.", body = OrderBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = [])),
)]
pub(crate) async fn get(
    app: Data<App>,
    call: Call,
    id: Id<OrderId>,
    query: Query,
) -> Result<Answer, Problem> {
    query.empty()?;
    let caller = call.known()?;
    let reach = if caller.has(ORDERS_READ_ANY) {
        Reach::Any
    } else {
        Reach::Own(&caller.principal)
    };
    let found = read(&app, &call, async |conn| order::find(conn, *id, reach).await).await?;
    Ok(answer(&found.ok_or_else(|| not_found("order"))?))
}
