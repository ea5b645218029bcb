//! `/v1/products`.

pub(crate) mod adjust_stock;
pub(crate) mod create;
pub(crate) mod edit;
pub(crate) mod get;
pub(crate) mod get_stock;
pub(crate) mod list;

use domain::{Product, ProductId, Stock};
use serde::Serialize;

/// A product, as all of its endpoints answer with it.
#[derive(Serialize)]
pub(crate) struct ProductBody<'a> {
    id: ProductId,
    sku: &'a str,
    name: &'a str,
    description: &'a str,
    price_minor: i64,
    /// ISO 4217.
    currency: String,
    /// `draft`, `active` or `discontinued`.
    status: &'static str,
    /// `in_stock` or `sold_out`.
    availability: &'static str,
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
#[derive(Serialize)]
pub(crate) struct StockBody {
    product_id: ProductId,
    quantity: i64,
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
