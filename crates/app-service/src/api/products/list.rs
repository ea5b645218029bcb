use actix_web::web::{Data, Query};
use chassis::Problem;
use domain::ProductId;
use serde::{Deserialize, Serialize};

use super::ProductBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::models::product::{self, Shown};
use crate::read::read;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    #[serde(default = "usual")]
    limit: u8,
    /// The last id of the page before.
    after: Option<ProductId>,
}

fn usual() -> u8 {
    20
}

#[derive(Serialize)]
struct Listing<'a> {
    items: Vec<ProductBody<'a>>,
    /// `after` of the next page; `null` on the last one.
    next: Option<ProductId>,
}

/// `GET /v1/products`: by id, which is by creation.
pub(crate) async fn list(app: Data<App>, call: Call, page: Query<Page>) -> Result<Answer, Problem> {
    if !(1..=100).contains(&page.limit) {
        return Err(
            Problem::new(400u16, "invalid-query", "the query is not valid").detail("a limit is 1 to 100")
        );
    }
    let shown = if call.caller.has(CATALOGUE_WRITE) {
        Shown::All
    } else {
        Shown::Active
    };
    let limit = usize::from(page.limit);
    // One more than asked for shows whether there is a next page.
    let wanted = i64::from(page.limit) + 1;
    let found = read(&app, &call, async |conn| {
        product::list(conn, shown, page.after, wanted).await
    })
    .await?;

    let listed = &found[..found.len().min(limit)];
    let more = found.len() > limit;
    Ok(Answer::ok(&Listing {
        items: listed.iter().map(ProductBody::of).collect(),
        next: listed.last().filter(|_| more).map(|product| product.id),
    }))
}
