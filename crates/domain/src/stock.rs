//! How many of a product there are: an aggregate of its own, so that selling one does not
//! change the product, its ETag or its cache entry.

use crate::{ProductId, Version};

/// The largest stock of one product and the largest quantity of one order line.
pub const MAX_QUANTITY: i64 = 1_000_000;

/// How many of one product are wanted: 1 to [`MAX_QUANTITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(i64);

impl Quantity {
    pub fn new(value: i64) -> Option<Quantity> {
        (1..=MAX_QUANTITY).contains(&value).then_some(Quantity(value))
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// The stock of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    pub product_id: ProductId,
    pub quantity: i64,
    pub version: Version,
}

/// Why a stock stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    #[error("only {available} left of product {product_id}")]
    Insufficient { product_id: ProductId, available: i64 },
    #[error("a stock is at most {MAX_QUANTITY}")]
    TooLarge,
}

impl Stock {
    /// The stock after `delta` came in (or, if negative, went out).
    pub fn adjust(&self, delta: i64) -> Result<Stock, StockRefusal> {
        let quantity = self.quantity.checked_add(delta).ok_or(StockRefusal::TooLarge)?;
        if quantity < 0 {
            return Err(StockRefusal::Insufficient {
                product_id: self.product_id,
                available: self.quantity,
            });
        }
        if quantity > MAX_QUANTITY {
            return Err(StockRefusal::TooLarge);
        }
        Ok(Stock {
            quantity,
            version: self.version.next(),
            ..*self
        })
    }
}
