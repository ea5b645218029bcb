use actix_web::web::Data;
use chassis::Problem;
use domain::OrderId;
use events::fact;

use super::{OrderBody, answer};
use crate::answer::Answer;
use crate::api::scopes::PAYMENTS_RECORD;
use crate::app::App;
use crate::call::Call;
use crate::models::customer::Reach;
use crate::models::order;
use crate::path::Id;
use crate::post::Post;
use crate::refusal::{self, not_found};
use crate::write::{Decided, write_once};

/// `POST /v1/orders/{id}/payment`: a payment provider says that the order is paid. A customer can't.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/payment",
    tag = "orders",
    summary = "Record a payment",
    description = "A payment provider's business; a customer can't.",
    responses((status = 200, description = "The order as it is now.", body = OrderBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = ["payments:record"])),
    extensions(("x-problems" = json!(["order-not-payable"]))),
)]
pub(crate) async fn pay(app: Data<App>, call: Call, id: Id<OrderId>, post: Post) -> Result<Answer, Problem> {
    call.with_scope(PAYMENTS_RECORD)?;
    post.empty()?;
    write_once(&app, &call, &post, async |conn| {
        let placed = order::lock_in_txn(conn, *id, Reach::Any).await?;
        let placed = placed.ok_or_else(|| not_found("order"))?;
        let paid = placed.pay(call.at).map_err(refusal::order)?;
        order::update_in_txn(conn, &paid).await?;
        Ok(Decided::new(answer(&paid), [fact::order_paid(&paid)]))
    })
    .await
}
