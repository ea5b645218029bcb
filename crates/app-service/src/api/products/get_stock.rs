use actix_web::web::Data;
use chassis::Problem;
use domain::ProductId;

use super::StockBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::models::stock::{self, Shown};
use crate::path::Id;
use crate::query::Query;
use crate::read::read;
use crate::refusal::not_found;

/// `GET /v1/products/{id}/stock`, of a product that the caller may see. Never cached: it is what an order would find.
pub(crate) async fn get_stock(
    app: Data<App>,
    call: Call,
    id: Id<ProductId>,
    query: Query,
) -> Result<Answer, Problem> {
    query.empty()?;
    let shown = if call.caller.has(CATALOGUE_WRITE) {
        Shown::OfAll
    } else {
        Shown::OfActive
    };
    let found = read(&app, &call, async |conn| {
        stock::find_shown(conn, *id, shown).await
    })
    .await?;
    let stock = found.ok_or_else(|| not_found("product"))?;
    Ok(Answer::ok(&StockBody::of(&stock)).version(stock.version))
}
