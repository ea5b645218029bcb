use actix_web::web::Data;
use chassis::Problem;
use domain::{ProductId, ProductStatus};
use serde::{Deserialize, Serialize};

use super::ProductBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::models::product;
use crate::page::{Listing, Page};
use crate::query::Query;
use crate::read::read;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// 1 to 100; 20 when left out.
    limit: Option<i64>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// `draft`, `active` or `discontinued`. When left out, `active` for everybody and all for merchandisers.
    status: Option<String>,
}

#[derive(Serialize)]
struct ProductsBody<'a> {
    items: Vec<ProductBody<'a>>,
    /// `cursor` of the next page; `null` on the last one.
    next: Option<String>,
}

/// `GET /v1/products`: by id, which is by creation.
pub(crate) async fn list(app: Data<App>, call: Call, query: Query) -> Result<Answer, Problem> {
    let (asked, mut fields) = query.read::<Asked>()?;
    let status = asked.status.as_deref();
    let listing = Listing::of("products", &[status.unwrap_or_default()]);
    let status = status.map(str::parse::<ProductStatus>).transpose();
    let status = fields.check("status", status).flatten();
    let page = Page::of(listing, asked.limit, asked.cursor.as_deref(), &mut fields);
    fields.finish()?;
    let status = shown(&call, status)?;

    let found = read(&app, &call, async |conn| {
        product::list(conn, status, page.after().map(ProductId), page.wanted()).await
    })
    .await?;
    let (items, next) = page.cut(&found, |product| product.id.0);
    Ok(Answer::ok(&ProductsBody {
        items: items.iter().map(ProductBody::of).collect(),
        next,
    }))
}

/// Which products the caller sees, `None` being all: everybody may see active ones, and others are not there without the
/// scope.
fn shown(call: &Call, asked: Option<ProductStatus>) -> Result<Option<ProductStatus>, Problem> {
    match asked {
        Some(ProductStatus::Active) => Ok(asked),
        Some(ProductStatus::Draft | ProductStatus::Discontinued) => {
            call.with_scope(CATALOGUE_WRITE)?;
            Ok(asked)
        }
        None if call.caller.has(CATALOGUE_WRITE) => Ok(None),
        None => Ok(Some(ProductStatus::Active)),
    }
}
