use actix_web::web::Data;
use chassis::Problem;
use domain::{CustomerId, OrderId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::answer::Answer;
use crate::api::orders::OrderBody;
use crate::api::scopes::ORDERS_READ_ANY;
use crate::app::App;
use crate::call::Call;
use crate::models::customer::{self, Reach};
use crate::models::order;
use crate::page::{Listing, Page};
use crate::path::Id;
use crate::query::Query;
use crate::read::read;
use crate::refusal::not_found;
use crate::shape;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// 1 to 100; 20 when left out.
    #[param(schema_with = shape::limit)]
    limit: Option<i64>,
    /// `next` of the page before.
    #[param(schema_with = shape::cursor)]
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Orders, example = json!({
    "items": [{
        "id": "0198c5b7-6f00-7c3e-8f5b-1f3c7a9d2e10", "customer_id": "0198c5b7-6a00-7b1d-8c3a-2d4e6f8a0b1c", "status": "placed",
        "currency": "EUR", "total_minor": 2500,
        "lines": [{"product_id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "quantity": 2, "unit_price_minor": 1250}],
        "placed_at": "2026-11-23T15:38:03.331614Z", "paid_at": null, "shipped_at": null, "cancelled_at": null, "reason": null,
        "version": 1
    }],
    "next": null
}))]
struct OrdersBody {
    items: Vec<OrderBody>,
    /// `cursor` of the next page; `null` on the last one.
    #[schema(schema_with = shape::cursor_or_null, required)]
    next: Option<String>,
}

/// `GET /v1/customers/{id}/orders`: one's own, or anybody's with `orders:read:any`; the newest first.
#[utoipa::path(
    get,
    path = "/v1/customers/{id}/orders",
    tag = "customers",
    summary = "List a customer's orders",
    description = "The newest first. One's own, or anybody's with `orders:read:any`.",
    params(Asked),
    responses((status = 200, description = "A page.", body = OrdersBody)),
    security(("bearer" = [])),
)]
pub(crate) async fn orders(
    app: Data<App>,
    call: Call,
    id: Id<CustomerId>,
    query: Query,
) -> Result<Answer, Problem> {
    let caller = call.known()?;
    let reach = if caller.has(ORDERS_READ_ANY) {
        Reach::Any
    } else {
        Reach::Own(&caller.principal)
    };
    let (asked, mut fields) = query.read::<Asked>()?;
    let listing = Listing::of("orders", &[&id.to_string()]);
    let page = Page::of(listing, asked.limit, asked.cursor.as_deref(), &mut fields);
    fields.finish()?;

    let found = read(&app, &call, async |conn| {
        if customer::find(conn, *id, reach).await?.is_none() {
            return Ok(None);
        }
        let before = page.after().map(OrderId);
        order::list_of(conn, *id, before, page.wanted()).await.map(Some)
    })
    .await?;
    let found = found.ok_or_else(|| not_found("customer"))?;
    let (items, next) = page.cut(&found, |order| order.id.0);
    Ok(Answer::ok(&OrdersBody {
        items: items.iter().map(OrderBody::of).collect(),
        next,
    }))
}
