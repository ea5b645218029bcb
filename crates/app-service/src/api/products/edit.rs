use actix_web::web::Data;
use chassis::Problem;
use domain::{Money, Product, ProductEdit, ProductId, ProductStatus};
use events::fact;
use serde::Deserialize;
use utoipa::ToSchema;

use super::ProductBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::body::Body;
use crate::call::Call;
use crate::etag::{ETag, IfMatch};
use crate::fields::Fields;
use crate::models::product;
use crate::path::Id;
use crate::query::Query;
use crate::refusal::{self, not_found};
use crate::shape;
use crate::write::{Decided, write};

/// What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"price_minor": 990}))]
struct Edit {
    #[schema(schema_with = shape::product_name)]
    name: Option<String>,
    #[schema(schema_with = shape::description)]
    description: Option<String>,
    #[schema(schema_with = shape::price_minor)]
    price_minor: Option<i64>,
    #[schema(schema_with = shape::product_status)]
    status: Option<String>,
}

/// `PATCH /v1/products/{id}`.
#[utoipa::path(
    patch,
    path = "/v1/products/{id}",
    tag = "products",
    summary = "Change a product",
    description = "What is left out stays. Discontinued is final, and an active product does not become a draft again.",
    request_body = Edit,
    responses((status = 200, description = "The product as it is now.", body = ProductBody, headers(("ETag" = String, description = "Its version.")))),
    security(("bearer" = ["catalogue:write"])),
    extensions(("x-problems" = json!(["product-discontinued", "product-published"]))),
)]
pub(crate) async fn edit(
    app: Data<App>,
    call: Call,
    id: Id<ProductId>,
    query: Query,
    if_match: IfMatch,
    body: Body,
) -> Result<Answer, Problem> {
    call.with_scope(CATALOGUE_WRITE)?;
    query.empty()?;
    let precondition = if_match.required()?;
    let (edit, fields) = body.read::<Edit>()?;
    let edit = edit.parse(fields)?;
    write(&app, &call, async |conn| {
        let before = product::lock_in_txn(conn, *id)
            .await?
            .ok_or_else(|| not_found("product"))?;
        precondition.check(ETag::of(before.version))?;
        let Some(after) = before.edit(edit).map_err(refusal::product)? else {
            return Ok(Decided::unchanged(answer(&before)));
        };
        product::update_in_txn(conn, &after).await?;
        Ok(Decided::new(
            answer(&after),
            [fact::product_changed(&before, &after)],
        ))
    })
    .await
}

fn answer(product: &Product) -> Answer {
    Answer::ok(&ProductBody::of(product)).version(product.version)
}

impl Edit {
    fn parse(self, mut fields: Fields) -> Result<ProductEdit, Problem> {
        let name = self.name.as_deref().map(Product::parse_name).transpose();
        let description = self
            .description
            .as_deref()
            .map(Product::parse_description)
            .transpose();
        let status = self
            .status
            .as_deref()
            .map(str::parse::<ProductStatus>)
            .transpose();
        let name = fields.check("/name", name);
        let description = fields.check("/description", description);
        let price_minor = fields.check(
            "/price_minor",
            self.price_minor.map(Money::check_minor).transpose(),
        );
        let status = fields.check("/status", status);
        let (Some(name), Some(description), Some(price_minor), Some(status)) =
            (name, description, price_minor, status)
        else {
            return Err(fields.problem());
        };
        fields.finish()?;
        Ok(ProductEdit {
            name,
            description,
            price_minor,
            status,
        })
    }
}
