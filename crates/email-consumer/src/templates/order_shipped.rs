use events::Order;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Words, escape};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Params {
    order_id: Uuid,
}

impl Params {
    pub(super) fn of(order: &Order) -> Params {
        Params { order_id: order.id }
    }
}

pub(super) fn words(name: &str, order: &Params) -> Words {
    let (id, html_name) = (order.order_id, escape(name));
    Words {
        subject: format!("Your order {id} is on its way"),
        text: format!("Hello {name},\n\nwe have shipped your order {id}.\n\nPlumbline\n"),
        html: format!(
            "<!doctype html>\n<html lang=\"en\"><body>\n<p>Hello {html_name},</p>\n\
             <p>we have shipped your order {id}.</p>\n<p>Plumbline</p>\n</body></html>\n"
        ),
    }
}
