use actix_web::web::Data;
use cache::Lookup;
use chassis::Problem;
use domain::ProductId;

use super::ProductBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::cached;
use crate::call::Call;
use crate::path::Id;
use crate::query::Query;
use crate::refusal::not_found;

/// `GET /v1/products/{id}`, through the cache; everybody sees active products, and only merchandisers the others.
#[utoipa::path(
    get,
    path = "/v1/products/{id}",
    tag = "products",
    summary = "Read a product",
    description = "Drafts and discontinued products are there for `catalogue:write` only. `Cache-Status` says where the answer came from.",
    responses((status = 200, description = "The product.", body = ProductBody, headers(("ETag" = String, description = "Its version.")))),
    security((), ("bearer" = [])),
)]
pub(crate) async fn get(
    app: Data<App>,
    call: Call,
    id: Id<ProductId>,
    query: Query,
) -> Result<Answer, Problem> {
    query.empty()?;
    let products = app.cached.products.within(call.left());
    let lookup = call.within(products.get(&id)).await?;
    match lookup.map_err(cached::problem)? {
        Lookup::Found(entry) if cached::is_public(&entry) || call.caller.has(CATALOGUE_WRITE) => {
            Ok(Answer::cached(entry))
        }
        // Without Cache-Status: a product that the caller may not see is cached for longer than an absence, which would tell
        // the one from the other.
        Lookup::Found(_) | Lookup::Absent => Err(not_found("product")),
    }
}
