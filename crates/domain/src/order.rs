//! An order: `placed → paid → shipped`, and `placed | paid → cancelled`.
//!
//! An order that nobody pays in time expires: it is cancelled, with the reason `expired`. It has no state of its own,
//! so that whoever asks "is it cancelled, and why" looks at one place, and whoever reads events knows the state already.

use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;

use crate::{
    CustomerId, InvalidText, Money, MoneyError, OrderId, Product, ProductId, ProductStatus, Quantity, Version,
};

/// The most lines an order has.
pub const MAX_LINES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    Placed,
    Paid,
    Shipped,
    Cancelled,
}

impl OrderStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            OrderStatus::Placed => "placed",
            OrderStatus::Paid => "paid",
            OrderStatus::Shipped => "shipped",
            OrderStatus::Cancelled => "cancelled",
        }
    }
}

impl FromStr for OrderStatus {
    type Err = InvalidText;

    fn from_str(raw: &str) -> Result<OrderStatus, InvalidText> {
        match raw {
            "placed" => Ok(OrderStatus::Placed),
            "paid" => Ok(OrderStatus::Paid),
            "shipped" => Ok(OrderStatus::Shipped),
            "cancelled" => Ok(OrderStatus::Cancelled),
            _ => Err(InvalidText(
                "an order's status is placed, paid, shipped or cancelled",
            )),
        }
    }
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The customer, or whoever fulfils orders, asked for it.
    Customer,
    /// Nobody paid in time.
    Expired,
}

impl CancelReason {
    pub fn as_str(self) -> &'static str {
        match self {
            CancelReason::Customer => "customer",
            CancelReason::Expired => "expired",
        }
    }
}

impl FromStr for CancelReason {
    type Err = InvalidText;

    fn from_str(raw: &str) -> Result<CancelReason, InvalidText> {
        match raw {
            "customer" => Ok(CancelReason::Customer),
            "expired" => Ok(CancelReason::Expired),
            _ => Err(InvalidText("a cancellation's reason is customer or expired")),
        }
    }
}

/// What is wanted of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// One line; the price is the product's when the order was placed and never changes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderLine {
    pub product_id: ProductId,
    pub quantity: Quantity,
    pub unit_price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub customer_id: CustomerId,
    pub status: OrderStatus,
    pub total: Money,
    /// Sorted by product id: also the order in which stock is locked.
    pub lines: Vec<OrderLine>,
    pub placed_at: OffsetDateTime,
    pub paid_at: Option<OffsetDateTime>,
    pub shipped_at: Option<OffsetDateTime>,
    pub cancelled_at: Option<OffsetDateTime>,
    pub reason: Option<CancelReason>,
    pub version: Version,
}

/// Why an order is not placed, or stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    #[error("an order has 1 to {MAX_LINES} lines")]
    LineCount,
    #[error("product {0} stands on two lines")]
    DuplicateProduct(ProductId),
    #[error("there is no product {0} to order")]
    UnknownProduct(ProductId),
    #[error("an order has one currency; product {0} has another")]
    MixedCurrencies(ProductId),
    #[error("the order's total is more than can be charged")]
    TotalTooLarge,
    #[error("an order that is {} can't be paid", .0.as_str())]
    NotPayable(OrderStatus),
    #[error("an order that is {} can't be shipped", .0.as_str())]
    NotShippable(OrderStatus),
    #[error("an order that is {} can't be cancelled", .0.as_str())]
    NotCancellable(OrderStatus),
    #[error("an order that is {} can't expire", .0.as_str())]
    NotExpirable(OrderStatus),
    #[error("the order can still be paid")]
    NotExpired,
}

impl Order {
    /// Selections in the order in which their stock must be locked.
    pub fn sort_selections(mut selections: Vec<Selection>) -> Result<Vec<Selection>, OrderRefusal> {
        if selections.is_empty() || selections.len() > MAX_LINES {
            return Err(OrderRefusal::LineCount);
        }
        selections.sort_by_key(|selection| selection.product_id);
        match selections
            .windows(2)
            .find(|pair| pair[0].product_id == pair[1].product_id)
        {
            Some(pair) => Err(OrderRefusal::DuplicateProduct(pair[0].product_id)),
            None => Ok(selections),
        }
    }

    /// A new order over `selections` at the prices of `products`.
    pub fn place(
        id: OrderId,
        customer_id: CustomerId,
        selections: &[Selection],
        products: &[Product],
        at: OffsetDateTime,
    ) -> Result<Order, OrderRefusal> {
        let mut lines = Vec::with_capacity(selections.len());
        let mut total: Option<Money> = None;
        for selection in selections {
            let product_id = selection.product_id;
            let product = products
                .iter()
                .find(|product| product.id == product_id && product.status == ProductStatus::Active)
                .ok_or(OrderRefusal::UnknownProduct(product_id))?;
            let amount = product.price.times(selection.quantity.get());
            let amount = amount.map_err(|_| OrderRefusal::TotalTooLarge)?;
            total = Some(match total {
                None => amount,
                Some(total) => total.plus(amount).map_err(|e| match e {
                    MoneyError::MixedCurrencies => OrderRefusal::MixedCurrencies(product_id),
                    _ => OrderRefusal::TotalTooLarge,
                })?,
            });
            lines.push(OrderLine {
                product_id,
                quantity: selection.quantity,
                unit_price: product.price,
            });
        }
        Ok(Order {
            id,
            customer_id,
            status: OrderStatus::Placed,
            total: total.ok_or(OrderRefusal::LineCount)?,
            lines,
            placed_at: at,
            paid_at: None,
            shipped_at: None,
            cancelled_at: None,
            reason: None,
            version: Version::FIRST,
        })
    }

    pub fn pay(&self, at: OffsetDateTime) -> Result<Order, OrderRefusal> {
        match self.status {
            OrderStatus::Placed => Ok(Order {
                status: OrderStatus::Paid,
                paid_at: Some(self.not_before_its_last_step(at)),
                ..self.next()
            }),
            OrderStatus::Paid | OrderStatus::Shipped | OrderStatus::Cancelled => {
                Err(OrderRefusal::NotPayable(self.status))
            }
        }
    }

    pub fn ship(&self, at: OffsetDateTime) -> Result<Order, OrderRefusal> {
        match self.status {
            OrderStatus::Paid => Ok(Order {
                status: OrderStatus::Shipped,
                shipped_at: Some(self.not_before_its_last_step(at)),
                ..self.next()
            }),
            OrderStatus::Placed | OrderStatus::Shipped | OrderStatus::Cancelled => {
                Err(OrderRefusal::NotShippable(self.status))
            }
        }
    }

    /// Because somebody asked for it. The caller puts the lines back into stock in the same transaction.
    pub fn cancel(&self, at: OffsetDateTime) -> Result<Order, OrderRefusal> {
        match self.status {
            OrderStatus::Placed | OrderStatus::Paid => Ok(self.cancelled(CancelReason::Customer, at)),
            OrderStatus::Shipped | OrderStatus::Cancelled => Err(OrderRefusal::NotCancellable(self.status)),
        }
    }

    /// Because it is still not paid `after` it was placed. The caller puts the lines back into stock in the same
    /// transaction.
    pub fn expire(&self, after: Duration, at: OffsetDateTime) -> Result<Order, OrderRefusal> {
        match self.status {
            OrderStatus::Placed if at - self.placed_at < after => Err(OrderRefusal::NotExpired),
            OrderStatus::Placed => Ok(self.cancelled(CancelReason::Expired, at)),
            OrderStatus::Paid | OrderStatus::Shipped | OrderStatus::Cancelled => {
                Err(OrderRefusal::NotExpirable(self.status))
            }
        }
    }

    fn cancelled(&self, reason: CancelReason, at: OffsetDateTime) -> Order {
        Order {
            status: OrderStatus::Cancelled,
            cancelled_at: Some(self.not_before_its_last_step(at)),
            reason: Some(reason),
            ..self.next()
        }
    }

    fn next(&self) -> Order {
        Order {
            version: self.version.next(),
            ..self.clone()
        }
    }

    /// Two requests reach an order in another order than they arrived in, and clocks of two replicas differ; the times
    /// of one order rise all the same.
    fn not_before_its_last_step(&self, at: OffsetDateTime) -> OffsetDateTime {
        at.max(self.paid_at.unwrap_or(self.placed_at))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Availability, Sku};

    fn product(id: u128, price: i64, currency: &str) -> Product {
        Product {
            id: ProductId(Uuid::from_u128(id)),
            sku: Sku::parse("SKU-1").unwrap(),
            name: "Mug".into(),
            description: String::new(),
            price: Money::new(price, currency.parse().unwrap()).unwrap(),
            status: ProductStatus::Active,
            availability: Availability::InStock,
            version: Version::FIRST,
        }
    }

    fn select(id: u128, quantity: i64) -> Selection {
        Selection {
            product_id: ProductId(Uuid::from_u128(id)),
            quantity: Quantity::new(quantity).unwrap(),
        }
    }

    fn place(selections: &[Selection], products: &[Product]) -> Result<Order, OrderRefusal> {
        let id = OrderId(Uuid::from_u128(9));
        Order::place(
            id,
            CustomerId(Uuid::from_u128(8)),
            selections,
            products,
            OffsetDateTime::UNIX_EPOCH,
        )
    }

    #[test]
    fn an_order_that_breaks_a_rule_is_refused() {
        let mug = product(1, 1_250, "EUR");
        let dear = product(2, Money::MAX_MINOR, "EUR");
        let yen = product(3, 100, "JPY");
        let draft = Product {
            status: ProductStatus::Draft,
            ..product(4, 1, "EUR")
        };
        let products = [mug, dear, yen, draft];
        let id = |n| ProductId(Uuid::from_u128(n));
        for (selections, refusal) in [
            (
                vec![select(1, 1), select(3, 1)],
                OrderRefusal::MixedCurrencies(id(3)),
            ),
            (vec![select(2, 2)], OrderRefusal::TotalTooLarge),
            (vec![select(1, 1), select(2, 1)], OrderRefusal::TotalTooLarge),
            (vec![select(4, 1)], OrderRefusal::UnknownProduct(id(4))),
            (vec![select(5, 1)], OrderRefusal::UnknownProduct(id(5))),
            (vec![], OrderRefusal::LineCount),
        ] {
            assert_eq!(place(&selections, &products), Err(refusal));
        }
        assert_eq!(
            Order::sort_selections(vec![select(2, 1), select(1, 1), select(2, 3)]),
            Err(OrderRefusal::DuplicateProduct(id(2)))
        );
        assert_eq!(
            Order::sort_selections(vec![select(1, 1); 21]),
            Err(OrderRefusal::LineCount)
        );
    }
}
