use actix_web::web::Data;
use chassis::Problem;
use domain::ProductId;
use events::{StockCause, fact};
use serde::Deserialize;
use utoipa::ToSchema;

use super::StockBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::availability::{self, Moved};
use crate::call::Call;
use crate::models::stock;
use crate::path::Id;
use crate::post::Post;
use crate::refusal::{self, not_found};
use crate::shape;
use crate::write::{Decided, write_once};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"delta": 5}))]
struct Adjustment {
    /// How many came in; negative: went out.
    #[schema(schema_with = shape::delta)]
    delta: i64,
}

/// `POST /v1/products/{id}/stock-adjustments`.
#[utoipa::path(
    post,
    path = "/v1/products/{id}/stock-adjustments",
    tag = "products",
    summary = "Adjust a stock",
    description = "By a difference, so that two adjustments at once both count.",
    request_body = Adjustment,
    responses((status = 200, description = "The stock as it is now.", body = StockBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = ["catalogue:write"])),
    extensions(("x-problems" = json!(["insufficient-stock", "stock-too-large"]))),
)]
pub(crate) async fn adjust_stock(
    app: Data<App>,
    call: Call,
    id: Id<ProductId>,
    post: Post,
) -> Result<Answer, Problem> {
    call.with_scope(CATALOGUE_WRITE)?;
    let (Adjustment { delta }, mut fields) = post.read()?;
    if delta == 0 {
        fields.refuse("/delta", "an adjustment is not 0");
    }
    fields.finish()?;
    write_once(&app, &call, &post, async |conn| {
        let before = stock::lock_in_txn(conn, *id)
            .await?
            .ok_or_else(|| not_found("product"))?;
        let after = before.adjust(delta).map_err(refusal::stock)?;
        stock::update_in_txn(conn, &after).await?;
        let mut facts = vec![fact::stock_adjusted(before.quantity, &after, StockCause::Manual)];
        let moved = Moved {
            previous_quantity: before.quantity,
            stock: after,
        };
        facts.extend(availability::follow_in_txn(conn, &[moved]).await?);
        let body = StockBody::of(&after);
        Ok(Decided::new(Answer::ok(&body).version(after.version), facts))
    })
    .await
}
