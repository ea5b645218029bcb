use actix_web::web::Data;
use chassis::Problem;
use domain::CustomerId;

use super::CustomerBody;
use crate::answer::Answer;
use crate::api::scopes::CUSTOMERS_READ_ANY;
use crate::app::App;
use crate::call::Call;
use crate::models::customer::{self, Reach};
use crate::path::Id;
use crate::query::Query;
use crate::read::read;
use crate::refusal::not_found;

/// `GET /v1/customers/{id}`: oneself, or anybody with `customers:read:any`.
#[utoipa::path(
    get,
    path = "/v1/customers/{id}",
    tag = "customers",
    summary = "Read a customer",
    description = "Oneself, or anybody with `customers:read:any`.",
    responses((status = 200, description = "The customer.", body = CustomerBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = [])),
)]
pub(crate) async fn get(
    app: Data<App>,
    call: Call,
    id: Id<CustomerId>,
    query: Query,
) -> Result<Answer, Problem> {
    query.empty()?;
    let caller = call.known()?;
    let reach = if caller.has(CUSTOMERS_READ_ANY) {
        Reach::Any
    } else {
        Reach::Own(&caller.principal)
    };
    let found = read(&app, &call, async |conn| customer::find(conn, *id, reach).await).await?;
    let customer = found.ok_or_else(|| not_found("customer"))?;
    Ok(Answer::ok(&CustomerBody::of(&customer)).version(customer.version))
}
