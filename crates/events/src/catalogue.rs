//! `plumbline.catalogue.v1`: products and their stock.

use envelope::Fact;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{SCHEMA_VERSION, json, topics};

/// A product's state after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub id: Uuid,
    pub sku: String,
    pub name: String,
    pub description: String,
    pub price_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// `draft`, `active` or `discontinued`.
    pub status: String,
    /// `in_stock` or `sold_out`.
    pub availability: String,
    pub version: i64,
}

/// What a product was before a change; only what changed is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductBefore {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_minor: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<String>,
}

/// A stock's state after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    pub product_id: Uuid,
    pub quantity: i64,
    pub version: i64,
}

/// Why a stock changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockCause {
    Manual,
    Order,
    Restock,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ProductChanged {
    #[serde(flatten)]
    pub(crate) product: Product,
    pub(crate) previous: ProductBefore,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StockAdjusted {
    #[serde(flatten)]
    pub(crate) stock: Stock,
    pub(crate) previous_quantity: i64,
    pub(crate) cause: StockCause,
}

pub(crate) const CREATED: &str = "plumbline.product.created";
pub(crate) const CHANGED: &str = "plumbline.product.changed";
pub(crate) const DISCONTINUED: &str = "plumbline.product.discontinued";
pub(crate) const PRODUCT_RESTATED: &str = "plumbline.product.restated";
pub(crate) const ADJUSTED: &str = "plumbline.stock.adjusted";
pub(crate) const STOCK_RESTATED: &str = "plumbline.stock.restated";

pub fn product_created(product: &domain::Product) -> Fact {
    product_fact(CREATED, product, json(&Product::of(product)))
}

/// `product.discontinued` when that is what happened, whatever else changed with it; otherwise `product.changed`. There
/// is one event per version, so a reader of the one has nothing to look for in the other.
pub fn product_changed(before: &domain::Product, after: &domain::Product) -> Fact {
    let previous = ProductBefore {
        name: (before.name != after.name).then(|| before.name.clone()),
        description: (before.description != after.description).then(|| before.description.clone()),
        price_minor: (before.price != after.price).then(|| before.price.minor()),
        status: (before.status != after.status).then(|| before.status.as_str().to_owned()),
        availability: (before.availability != after.availability)
            .then(|| before.availability.as_str().to_owned()),
    };
    let discontinued = before.status != after.status && after.status == domain::ProductStatus::Discontinued;
    product_fact(
        if discontinued { DISCONTINUED } else { CHANGED },
        after,
        json(&ProductChanged {
            product: Product::of(after),
            previous,
        }),
    )
}

pub fn product_restated(product: &domain::Product) -> Fact {
    product_fact(PRODUCT_RESTATED, product, json(&Product::of(product)))
}

pub fn stock_adjusted(previous_quantity: i64, after: &domain::Stock, cause: StockCause) -> Fact {
    let adjusted = StockAdjusted {
        stock: Stock::of(after),
        previous_quantity,
        cause,
    };
    stock_fact(ADJUSTED, after, json(&adjusted))
}

pub fn stock_restated(stock: &domain::Stock) -> Fact {
    stock_fact(STOCK_RESTATED, stock, json(&Stock::of(stock)))
}

fn stock_fact(kind: &'static str, stock: &domain::Stock, payload: Vec<u8>) -> Fact {
    Fact {
        topic: topics::CATALOGUE,
        kind,
        schema_version: SCHEMA_VERSION,
        aggregate_type: "stock",
        aggregate_id: stock.product_id.0,
        aggregate_version: stock.version.get(),
        payload,
    }
}

fn product_fact(kind: &'static str, product: &domain::Product, payload: Vec<u8>) -> Fact {
    Fact {
        topic: topics::CATALOGUE,
        kind,
        schema_version: SCHEMA_VERSION,
        aggregate_type: "product",
        aggregate_id: product.id.0,
        aggregate_version: product.version.get(),
        payload,
    }
}

impl Stock {
    fn of(stock: &domain::Stock) -> Stock {
        Stock {
            product_id: stock.product_id.0,
            quantity: stock.quantity,
            version: stock.version.get(),
        }
    }
}

impl Product {
    fn of(product: &domain::Product) -> Product {
        Product {
            id: product.id.0,
            sku: product.sku.as_str().to_owned(),
            name: product.name.clone(),
            description: product.description.clone(),
            price_minor: product.price.minor(),
            currency: product.price.currency().to_string(),
            status: product.status.as_str().to_owned(),
            availability: product.availability.as_str().to_owned(),
            version: product.version.get(),
        }
    }
}
