use actix_web::web::Data;
use chassis::Problem;
use domain::{
    Availability, Currency, MAX_QUANTITY, Money, Product, ProductId, ProductStatus, Sku, Stock, Version,
};
use events::{StockCause, fact};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ProductBody;
use crate::answer::Answer;
use crate::api::scopes::CATALOGUE_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::fields::Fields;
use crate::models::{product, stock};
use crate::post::Post;
use crate::problems::SKU_TAKEN;
use crate::shape;
use crate::write::{Decided, write_once};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sku": "MUG-BLUE", "name": "Blue mug", "description": "Holds 0.3 l.", "price_minor": 1250, "currency": "EUR", "quantity": 10}))]
struct NewProduct {
    #[schema(schema_with = shape::sku)]
    sku: String,
    #[schema(schema_with = shape::product_name)]
    name: String,
    #[schema(schema_with = shape::description)]
    description: Option<String>,
    #[schema(schema_with = shape::price_minor)]
    price_minor: i64,
    #[schema(schema_with = shape::currency)]
    currency: String,
    /// Of the first stock; 0 when left out.
    #[schema(schema_with = shape::first_quantity)]
    quantity: Option<i64>,
    /// `active` when left out.
    #[schema(schema_with = shape::first_status)]
    status: Option<String>,
}

/// `POST /v1/products`: a product and its stock.
#[utoipa::path(
    post,
    path = "/v1/products",
    tag = "products",
    summary = "Create a product",
    description = "With its first stock.",
    request_body = NewProduct,
    responses((status = 201, description = "The product.", body = ProductBody, headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Where it is.")))),
    security(("bearer" = ["catalogue:write"])),
    extensions(("x-problems" = json!(["sku-taken"]))),
)]
pub(crate) async fn create(app: Data<App>, call: Call, post: Post) -> Result<Answer, Problem> {
    call.with_scope(CATALOGUE_WRITE)?;
    let (new, fields) = post.read::<NewProduct>()?;
    let (product, stock) = new.parse(fields)?;
    write_once(&app, &call, &post, async |conn| {
        if !product::insert_in_txn(conn, &product).await? {
            return Err(SKU_TAKEN.problem());
        }
        stock::insert_in_txn(conn, &stock).await?;
        let answer = Answer::created(format!("/v1/products/{}", product.id), &ProductBody::of(&product))
            .version(product.version);
        let facts = [
            fact::product_created(&product),
            fact::stock_adjusted(0, &stock, StockCause::Manual),
        ];
        Ok(Decided::new(answer, facts))
    })
    .await
}

impl NewProduct {
    fn parse(self, mut fields: Fields) -> Result<(Product, Stock), Problem> {
        let sku = fields.check("/sku", Sku::parse(&self.sku));
        let name = fields.check("/name", Product::parse_name(&self.name));
        let description = fields.check(
            "/description",
            Product::parse_description(self.description.as_deref().unwrap_or_default()),
        );
        let currency = fields.check("/currency", self.currency.parse::<Currency>());
        let minor = fields.check("/price_minor", Money::check_minor(self.price_minor));
        let price = minor.zip(currency);
        let price = price.and_then(|(minor, currency)| Money::new(minor, currency).ok());
        let quantity = fields.check("/quantity", first_quantity(self.quantity.unwrap_or(0)));
        let status = fields.check("/status", first_status(self.status.as_deref()));
        let (Some(sku), Some(name), Some(description), Some(price), Some(quantity), Some(status)) =
            (sku, name, description, price, quantity, status)
        else {
            return Err(fields.problem());
        };
        fields.finish()?;
        let id = ProductId(Uuid::now_v7());
        let product = Product {
            id,
            sku,
            name,
            description,
            price,
            status,
            availability: Availability::of(quantity),
            version: Version::FIRST,
        };
        let stock = Stock {
            product_id: id,
            quantity,
            version: Version::FIRST,
        };
        Ok((product, stock))
    }
}

fn first_quantity(quantity: i64) -> Result<i64, String> {
    if (0..=MAX_QUANTITY).contains(&quantity) {
        Ok(quantity)
    } else {
        Err(format!("a quantity is 0 to {MAX_QUANTITY}"))
    }
}

fn first_status(status: Option<&str>) -> Result<ProductStatus, &'static str> {
    match status {
        None | Some("active") => Ok(ProductStatus::Active),
        Some("draft") => Ok(ProductStatus::Draft),
        Some(_) => Err("a new product is draft or active"),
    }
}
