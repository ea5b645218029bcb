use actix_web::web::Data;
use chassis::Problem;
use domain::OrderId;
use events::fact;

use super::{OrderBody, answer};
use crate::answer::Answer;
use crate::api::scopes::ORDERS_FULFIL;
use crate::app::App;
use crate::call::Call;
use crate::models::customer::Reach;
use crate::models::order;
use crate::path::Id;
use crate::post::Post;
use crate::refusal::{self, not_found};
use crate::write::{Decided, write_once};

/// `POST /v1/orders/{id}/shipment`: whoever fulfils orders says that a paid one has left.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/shipment",
    tag = "orders",
    summary = "Record a shipment",
    description = "Of a paid order.",
    responses((status = 200, description = "The order as it is now.", body = OrderBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = ["orders:fulfil"])),
    extensions(("x-problems" = json!(["order-not-shippable"]))),
)]
pub(crate) async fn ship(app: Data<App>, call: Call, id: Id<OrderId>, post: Post) -> Result<Answer, Problem> {
    call.with_scope(ORDERS_FULFIL)?;
    post.empty()?;
    write_once(&app, &call, &post, async |conn| {
        let paid = order::lock_in_txn(conn, *id, Reach::Any).await?;
        let paid = paid.ok_or_else(|| not_found("order"))?;
        let shipped = paid.ship(call.at).map_err(refusal::order)?;
        order::update_in_txn(conn, &shipped).await?;
        Ok(Decided::new(answer(&shipped), [fact::order_shipped(&shipped)]))
    })
    .await
}
