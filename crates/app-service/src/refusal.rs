//! The domain's refusals as problems. The list of types is part of the API.

use chassis::Problem;
use domain::{OrderRefusal, ProductRefusal, StockRefusal};

use crate::body::invalid;

/// 404; also for what the caller may not know of.
pub(crate) fn not_found(what: &'static str) -> Problem {
    Problem::new(404u16, "not-found", "there is no such thing").detail(format!("no such {what}"))
}

/// Of an edit.
pub(crate) fn product(refusal: ProductRefusal) -> Problem {
    let slug = match refusal {
        ProductRefusal::Discontinued => "product-discontinued",
        ProductRefusal::BackToDraft => "product-published",
        ProductRefusal::Price(_) => return invalid("/price_minor", refusal),
    };
    conflict(slug, "the product's state does not allow this").detail(refusal.to_string())
}

pub(crate) fn stock(refusal: StockRefusal) -> Problem {
    match refusal {
        StockRefusal::Insufficient {
            product_id,
            available,
        } => conflict("insufficient-stock", "not enough in stock")
            .detail(refusal.to_string())
            .with("product_id", product_id.to_string())
            .with("available", available),
        StockRefusal::TooLarge => {
            conflict("stock-too-large", "too much in stock").detail(refusal.to_string())
        }
    }
}

/// Of a payment, a shipment or a cancellation.
pub(crate) fn order(refusal: OrderRefusal) -> Problem {
    let (slug, status) = match refusal {
        OrderRefusal::NotPayable(status) => ("order-not-payable", status),
        OrderRefusal::NotShippable(status) => ("order-not-shippable", status),
        OrderRefusal::NotCancellable(status) => ("order-not-cancellable", status),
        unexpected => return invalid("", unexpected),
    };
    conflict(slug, "the order's state does not allow this")
        .detail(refusal.to_string())
        .with("order_status", status.as_str())
}

pub(crate) fn conflict(slug: &'static str, title: &'static str) -> Problem {
    Problem::new(409u16, slug, title)
}
