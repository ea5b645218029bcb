use std::fmt::Write as _;

use events::Order;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::money::amount;
use super::{Words, escape};

/// What the mail says about the order, as it was when it was placed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Params {
    order_id: Uuid,
    currency: String,
    total_minor: i64,
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    product_id: Uuid,
    quantity: i64,
    unit_price_minor: i64,
}

impl Params {
    pub(super) fn of(order: &Order) -> Params {
        let lines = order.lines.iter().map(|line| Line {
            product_id: line.product_id,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        });
        Params {
            order_id: order.id,
            currency: order.currency.clone(),
            total_minor: order.total_minor,
            lines: lines.collect(),
        }
    }
}

pub(super) fn words(name: &str, order: &Params) -> Words {
    let total = amount(order.total_minor, &order.currency);
    let (mut text_lines, mut html_lines) = (String::new(), String::new());
    for line in &order.lines {
        let price = amount(line.unit_price_minor, &order.currency);
        // Writing to a String can't fail.
        let _ = writeln!(
            text_lines,
            "{:>5} x {}  at {price}",
            line.quantity, line.product_id
        );
        let _ = writeln!(
            html_lines,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            line.quantity,
            line.product_id,
            escape(&price),
        );
    }
    let id = order.order_id;
    let (html_name, html_total) = (escape(name), escape(&total));
    Words {
        subject: format!("Your order {id}"),
        text: format!(
            "Hello {name},\n\nthank you for your order {id}:\n\n{text_lines}\nTotal: {total}\n\nPlumbline\n"
        ),
        html: format!(
            "<!doctype html>\n<html lang=\"en\"><body>\n<p>Hello {html_name},</p>\n<p>thank you for your order {id}:</p>\n\
             <table>\n{html_lines}</table>\n<p>Total: {html_total}</p>\n<p>Plumbline</p>\n</body></html>\n"
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::templates) fn params() -> Params {
        Params {
            order_id: Uuid::from_u128(7),
            currency: "EUR".to_owned(),
            total_minor: 3_150,
            lines: vec![Line {
                product_id: Uuid::from_u128(8),
                quantity: 3,
                unit_price_minor: 1_050,
            }],
        }
    }

    #[test]
    fn the_order_is_named_with_its_lines_and_its_total() {
        let words = words("Ada", &params());
        assert_eq!(words.subject, "Your order 00000000-0000-0000-0000-000000000007");
        for body in [&words.text, &words.html] {
            for expected in [
                "Ada",
                "00000000-0000-0000-0000-000000000008",
                "10.50 EUR",
                "31.50 EUR",
            ] {
                assert!(body.contains(expected), "{expected} in {body}");
            }
        }
    }
}
