use actix_web::web::Data;
use bytes::Bytes;
use cache::Lookup;
use chassis::Problem;
use domain::{ProductId, ProductStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ProductBody;
use crate::answer::{self, Answer};
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::cached::{self, FirstPage};
use crate::call::Call;
use crate::models::product;
use crate::page::{Listing, Page};
use crate::query::Query;
use crate::read::read;
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
    /// `draft`, `active` or `discontinued`. When left out, `active` for everybody and all for merchandisers.
    #[param(schema_with = shape::product_status)]
    status: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Products, example = json!({
    "items": [{
        "id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "sku": "MUG-BLUE", "name": "Blue mug", "description": "Holds 0.3 l.",
        "price_minor": 1250, "currency": "EUR", "status": "active", "availability": "in_stock", "version": 1
    }],
    "next": "AVvgsfANPHqeAZjFt1wAfS-aTA4rb40cOg"
}))]
struct ProductsBody<'a> {
    items: Vec<ProductBody<'a>>,
    /// `cursor` of the next page; `null` on the last one.
    #[schema(schema_with = shape::cursor_or_null, required)]
    next: Option<String>,
}

/// `GET /v1/products`: by id, which is by creation.
#[utoipa::path(
    get,
    path = "/v1/products",
    tag = "products",
    summary = "List products",
    description = "By creation. Everybody sees active products; with `catalogue:write` one sees all, or those of one status.",
    params(Asked),
    responses((status = 200, description = "A page.", body = ProductsBody)),
    security((), ("bearer" = [])),
    extensions(("x-problems" = json!(["insufficient-scope"]))),
)]
pub(crate) async fn list(app: Data<App>, call: Call, query: Query) -> Result<Answer, Problem> {
    let (asked, mut fields) = query.read::<Asked>()?;
    let status = asked.status.as_deref();
    let listing = Listing::of("products", &[status.unwrap_or_default()]);
    let status = status.map(str::parse::<ProductStatus>).transpose();
    let status = fields.check("status", status).flatten();
    let page = Page::of(listing, asked.limit, asked.cursor.as_deref(), &mut fields);
    fields.finish()?;
    let status = shown(&call, status)?;
    if page.after().is_none() {
        return first(&app, &call, status, &page).await;
    }

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

/// The first page, which most readers leave it at, through the cache.
async fn first(
    app: &App,
    call: &Call,
    status: Option<ProductStatus>,
    page: &Page,
) -> Result<Answer, Problem> {
    let first = FirstPage {
        status,
        wanted: page.wanted(),
    };
    let listing = app.cached.listing.within(call.left());
    let listed = call.within(listing.get(&first)).await?.map_err(cached::problem)?;
    let found = cached::ids(&listed);
    let (ids, next) = page.cut(&found, |id| id.0);
    let products = app.cached.products.within(call.left());
    let products = call.within(products.get_many(ids)).await?;
    let (mut bodies, mut dearest) = (Vec::new(), listed.status);
    for lookup in products.map_err(cached::problem)? {
        let Lookup::Found(entry) = lookup else { continue };
        dearest = dearest.max(entry.status);
        // What is listed and has another status by now is on its way out of the listing.
        if status.is_none_or(|status| cached::has_status(&entry, status)) {
            bodies.push(entry.body);
        }
    }
    Ok(Answer::joined(products_body(&bodies, next.as_deref()), dearest))
}

/// [`ProductsBody`] of products that are JSON already.
fn products_body(products: &[Bytes], next: Option<&str>) -> Vec<u8> {
    let mut body = br#"{"items":["#.to_vec();
    body.extend(products.join(&b","[..]));
    body.extend(br#"],"next":"#);
    body.extend(answer::json(&next));
    body.push(b'}');
    body
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
