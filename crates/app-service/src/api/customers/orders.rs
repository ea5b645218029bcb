use actix_web::web::Data;
use chassis::Problem;
use domain::{CustomerId, OrderId};
use serde::{Deserialize, Serialize};

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// 1 to 100; 20 when left out.
    limit: Option<i64>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize)]
struct OrdersBody {
    items: Vec<OrderBody>,
    /// `cursor` of the next page; `null` on the last one.
    next: Option<String>,
}

/// `GET /v1/customers/{id}/orders`: one's own, or anybody's with `orders:read:any`; the newest first.
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
