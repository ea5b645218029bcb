use actix_web::web::Data;
use chassis::Problem;
use domain::ProductId;
use serde::{Deserialize, Serialize};

use super::ProductBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::models::product::{self, Shown};
use crate::path;
use crate::query::Query;
use crate::read::read;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// 1 to 100; 20 when left out.
    limit: Option<i64>,
    /// The last id of the page before.
    after: Option<String>,
}

#[derive(Serialize)]
struct Listing<'a> {
    items: Vec<ProductBody<'a>>,
    /// `after` of the next page; `null` on the last one.
    next: Option<ProductId>,
}

/// `GET /v1/products`: by id, which is by creation.
pub(crate) async fn list(app: Data<App>, call: Call, query: Query) -> Result<Answer, Problem> {
    let (page, mut fields) = query.read::<Page>()?;
    let limit = page.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        fields.refuse("limit", "a limit is 1 to 100");
    }
    let after = page
        .after
        .map(|after| path::parse(&after).ok_or("it is the `next` of another page"));
    let after: Option<Option<ProductId>> = fields.check("after", after.transpose());
    fields.finish()?;
    let shown = if call.caller.has(CATALOGUE_WRITE) {
        Shown::All
    } else {
        Shown::Active
    };
    // One more than asked for shows whether there is a next page.
    let wanted = limit + 1;
    let found = read(&app, &call, async |conn| {
        product::list(conn, shown, after.flatten(), wanted).await
    })
    .await?;

    let limit = usize::try_from(limit).unwrap_or_default();
    let listed = &found[..found.len().min(limit)];
    let more = found.len() > limit;
    Ok(Answer::ok(&Listing {
        items: listed.iter().map(ProductBody::of).collect(),
        next: listed.last().filter(|_| more).map(|product| product.id),
    }))
}
