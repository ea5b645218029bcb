//! From a record to an event.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Customer, Order, Product, ProductBefore, SCHEMA_VERSION, Stock, StockCause, catalogue, customers, orders,
    upcast,
};

/// Everything that the storefront states. `…Restated` says nothing new about the world: it is the state as it is, for who
/// begins without the history or has lost some of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    CustomerRegistered(Customer),
    CustomerRestated(Customer),
    ProductCreated(Product),
    ProductRestated(Product),
    ProductChanged {
        product: Product,
        previous: ProductBefore,
    },
    /// The last change but for its availability.
    ProductDiscontinued {
        product: Product,
        previous: ProductBefore,
    },
    StockAdjusted {
        stock: Stock,
        previous_quantity: i64,
        cause: StockCause,
    },
    StockRestated(Stock),
    OrderPlaced(Order),
    OrderPaid(Order),
    OrderShipped(Order),
    OrderCancelled(Order),
    OrderRestated(Order),
}

impl Event {
    /// The order whose state this is, if it is one's.
    pub fn order(&self) -> Option<&Order> {
        match self {
            Event::OrderPlaced(order)
            | Event::OrderPaid(order)
            | Event::OrderShipped(order)
            | Event::OrderCancelled(order)
            | Event::OrderRestated(order) => Some(order),
            Event::CustomerRegistered(_)
            | Event::CustomerRestated(_)
            | Event::ProductCreated(_)
            | Event::ProductRestated(_)
            | Event::ProductChanged { .. }
            | Event::ProductDiscontinued { .. }
            | Event::StockAdjusted { .. }
            | Event::StockRestated(_) => None,
        }
    }
}

/// Why a record is no event of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A release newer than this one wrote it: wait for the upgrade, never skip it.
    #[error("{kind} in schema version {schema_version} is newer than this release knows")]
    Newer { kind: String, schema_version: u16 },
    /// No release will ever read it.
    #[error("malformed payload: {0}")]
    Malformed(String),
}

/// Reads a payload of type `kind`, lifting older schema versions first.
pub fn decode(kind: &str, schema_version: u16, payload: &[u8]) -> Result<Event, DecodeError> {
    let newer = || DecodeError::Newer {
        kind: kind.to_owned(),
        schema_version,
    };
    if schema_version > SCHEMA_VERSION {
        return Err(newer());
    }
    let read = Reader {
        kind,
        schema_version,
        payload,
    };
    match kind {
        customers::REGISTERED => Ok(Event::CustomerRegistered(read.json()?)),
        customers::RESTATED => Ok(Event::CustomerRestated(read.json()?)),
        catalogue::CREATED => Ok(Event::ProductCreated(read.json()?)),
        catalogue::PRODUCT_RESTATED => Ok(Event::ProductRestated(read.json()?)),
        catalogue::STOCK_RESTATED => Ok(Event::StockRestated(read.json()?)),
        catalogue::CHANGED => {
            let changed: catalogue::ProductChanged = read.json()?;
            Ok(Event::ProductChanged {
                product: changed.product,
                previous: changed.previous,
            })
        }
        catalogue::DISCONTINUED => {
            let discontinued: catalogue::ProductChanged = read.json()?;
            Ok(Event::ProductDiscontinued {
                product: discontinued.product,
                previous: discontinued.previous,
            })
        }
        catalogue::ADJUSTED => {
            let adjusted: catalogue::StockAdjusted = read.json()?;
            Ok(Event::StockAdjusted {
                stock: adjusted.stock,
                previous_quantity: adjusted.previous_quantity,
                cause: adjusted.cause,
            })
        }
        orders::PLACED => Ok(Event::OrderPlaced(read.json()?)),
        orders::PAID => Ok(Event::OrderPaid(read.json()?)),
        orders::SHIPPED => Ok(Event::OrderShipped(read.json()?)),
        orders::CANCELLED => Ok(Event::OrderCancelled(read.json()?)),
        orders::RESTATED => Ok(Event::OrderRestated(read.json()?)),
        _ => Err(newer()),
    }
}

struct Reader<'a> {
    kind: &'a str,
    schema_version: u16,
    payload: &'a [u8],
}

impl Reader<'_> {
    fn json<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let malformed = |e: serde_json::Error| DecodeError::Malformed(e.to_string());
        if self.schema_version == SCHEMA_VERSION {
            return serde_json::from_slice(self.payload).map_err(malformed);
        }
        let value: Value = serde_json::from_slice(self.payload).map_err(malformed)?;
        serde_json::from_value(upcast::to_current(self.kind, self.schema_version, value)).map_err(malformed)
    }
}
