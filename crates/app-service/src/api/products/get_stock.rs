use actix_web::web::Data;
use chassis::Problem;
use domain::ProductId;

use super::StockBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::models::stock;
use crate::path::Id;
use crate::query::Query;
use crate::read::read;
use crate::refusal::not_found;

/// `GET /v1/products/{id}/stock`. Never cached: it is what an order would find.
#[utoipa::path(
    get,
    path = "/v1/products/{id}/stock",
    tag = "products",
    summary = "Read how many there are",
    description = "As an order would find it: never from a cache.",
    responses((status = 200, description = "The stock.", body = StockBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = ["catalogue:write"])),
)]
pub(crate) async fn get_stock(
    app: Data<App>,
    call: Call,
    id: Id<ProductId>,
    query: Query,
) -> Result<Answer, Problem> {
    call.with_scope(CATALOGUE_WRITE)?;
    query.empty()?;
    let found = read(&app, &call, async |conn| stock::find(conn, *id).await).await?;
    let stock = found.ok_or_else(|| not_found("product"))?;
    Ok(Answer::ok(&StockBody::of(&stock)).version(stock.version))
}
