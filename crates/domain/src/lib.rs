//! The storefront's rules: given values, the next state or a refusal.
//!
//! No clock, no SQL, no HTTP. A value of one of these types is valid by construction; what
//! comes from outside is parsed by the constructors here, and what comes from the database is
//! rebuilt from rows that its own constraints have already checked.

mod customer;
mod ids;
mod money;
mod order;
mod product;
mod stock;

pub use customer::{Customer, EmailAddress, PersonName};
pub use ids::{CustomerId, OrderId, ProductId, Version};
pub use money::{Currency, Money, MoneyError};
pub use order::{CancelReason, MAX_LINES, Order, OrderLine, OrderRefusal, OrderStatus, Selection};
pub use product::{Availability, Product, ProductEdit, ProductRefusal, ProductStatus, Sku};
pub use stock::{MAX_QUANTITY, Quantity, Stock, StockRefusal};

/// A text that breaks its field's rule; the message says the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub &'static str);

/// Trimmed, non-empty, at most `max` characters, no control characters.
fn parse_text(raw: &str, max: usize, rule: &'static str) -> Result<String, InvalidText> {
    let text = raw.trim();
    if text.is_empty() || text.chars().count() > max || text.chars().any(char::is_control) {
        return Err(InvalidText(rule));
    }
    Ok(text.to_owned())
}
