//! `/v1/products`.

pub(crate) mod adjust_stock;
pub(crate) mod create;
pub(crate) mod edit;
pub(crate) mod get;
pub(crate) mod get_stock;
pub(crate) mod list;

use domain::{Product, ProductId, Stock};
use serde::Serialize;
use utoipa::ToSchema;

use crate::shape;

/// A product, as all of its endpoints answer with it.
#[derive(Serialize, ToSchema)]
#[schema(as = Product, example = json!({
    "id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "sku": "MUG-BLUE", "name": "Blue mug", "description": "Holds 0.3 l.",
    "price_minor": 1250, "currency": "EUR", "status": "active", "availability": "in_stock", "version": 1
}))]
pub(crate) struct ProductBody<'a> {
    #[schema(schema_with = shape::id)]
    id: ProductId,
    #[schema(schema_with = shape::sku)]
    sku: &'a str,
    #[schema(schema_with = shape::product_name)]
    name: &'a str,
    #[schema(schema_with = shape::description)]
    description: &'a str,
    #[schema(schema_with = shape::price_minor)]
    price_minor: i64,
    #[schema(schema_with = shape::currency)]
    currency: String,
    #[schema(schema_with = shape::product_status)]
    status: &'static str,
    #[schema(schema_with = shape::availability)]
    availability: &'static str,
    #[schema(schema_with = shape::version)]
    version: i64,
}

impl ProductBody<'_> {
    pub(crate) fn of(product: &Product) -> ProductBody<'_> {
        ProductBody {
            id: product.id,
            sku: product.sku.as_str(),
            name: &product.name,
            description: &product.description,
            price_minor: product.price.minor(),
            currency: product.price.currency().to_string(),
            status: product.status.as_str(),
            availability: product.availability.as_str(),
            version: product.version.get(),
        }
    }
}

/// How many of a product there are, as its endpoints answer with it.
#[derive(Serialize, ToSchema)]
#[schema(as = Stock, example = json!({"product_id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "quantity": 10, "version": 1}))]
pub(crate) struct StockBody {
    #[schema(schema_with = shape::id)]
    product_id: ProductId,
    #[schema(schema_with = shape::in_stock)]
    quantity: i64,
    #[schema(schema_with = shape::version)]
    version: i64,
}

impl StockBody {
    pub(crate) fn of(stock: &Stock) -> StockBody {
        StockBody {
            product_id: stock.product_id,
            quantity: stock.quantity,
            version: stock.version.get(),
        }
    }
}
