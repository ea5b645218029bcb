//! The domain's refusals as problems.

use chassis::Problem;
use domain::{OrderRefusal, ProductRefusal, StockRefusal};

use crate::fields::invalid;
use crate::problems::{
    INSUFFICIENT_STOCK, NOT_FOUND, ORDER_NOT_CANCELLABLE, ORDER_NOT_PAYABLE, ORDER_NOT_SHIPPABLE,
    PRODUCT_DISCONTINUED, PRODUCT_PUBLISHED, STOCK_TOO_LARGE,
};

/// 404; also for what the caller may not know of.
pub(crate) fn not_found(what: &'static str) -> Problem {
    NOT_FOUND.because(format_args!("no such {what}"))
}

/// Of an edit.
pub(crate) fn product(refusal: ProductRefusal) -> Problem {
    match refusal {
        ProductRefusal::Discontinued => PRODUCT_DISCONTINUED.because(refusal),
        ProductRefusal::BackToDraft => PRODUCT_PUBLISHED.because(refusal),
        ProductRefusal::Price(_) => invalid("/price_minor", refusal),
    }
}

pub(crate) fn stock(refusal: StockRefusal) -> Problem {
    match refusal {
        StockRefusal::Insufficient {
            product_id,
            available,
        } => INSUFFICIENT_STOCK
            .because(refusal)
            .with("product_id", product_id.to_string())
            .with("available", available),
        StockRefusal::TooLarge => STOCK_TOO_LARGE.because(refusal),
    }
}

/// Of a payment, a shipment or a cancellation.
pub(crate) fn order(refusal: OrderRefusal) -> Problem {
    let (kind, status) = match refusal {
        OrderRefusal::NotPayable(status) => (ORDER_NOT_PAYABLE, status),
        OrderRefusal::NotShippable(status) => (ORDER_NOT_SHIPPABLE, status),
        OrderRefusal::NotCancellable(status) => (ORDER_NOT_CANCELLABLE, status),
        unexpected => return invalid("", unexpected),
    };
    kind.because(refusal).with("order_status", status.as_str())
}
