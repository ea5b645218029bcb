//! The storefront's events: what each says, on which topic, and how older versions are read.
//!
//! One event per committed version of an aggregate, carrying the whole state after the change
//! and, where a reader will ask "from what", the values before. Within a topic's `.v1`, changes
//! are additive and unknown fields are ignored; an older schema version is lifted by a pure
//! function in `upcast` before it is read.

mod catalogue;
mod customers;
mod decode;
mod orders;
pub mod topics;
mod upcast;

pub use catalogue::{Product, ProductBefore, Stock, StockCause};
pub use customers::Customer;
pub use decode::{DecodeError, Event, decode};
pub use orders::{Order, OrderLine, OrderStatus};

pub mod fact {
    //! From a domain value to the fact that states it.
    pub use crate::catalogue::{
        product_changed, product_created, product_restated, stock_adjusted, stock_restated,
    };
    pub use crate::customers::{customer_registered, customer_restated};
    pub use crate::orders::{order_cancelled, order_paid, order_placed, order_restated, order_shipped};
}

/// The schema version that this release writes, for every type.
const SCHEMA_VERSION: u16 = 1;

/// Serialises a payload. The types here hold only what JSON can say, so this can't fail.
fn json(payload: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).unwrap_or_default()
}
