use events::Order;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Words, escape};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Params {
    order_id: Uuid,
    expired: bool,
}

impl Params {
    pub(super) fn of(order: &Order) -> Params {
        Params {
            order_id: order.id,
            expired: order.reason.as_deref() == Some("expired"),
        }
    }
}

pub(super) fn words(name: &str, order: &Params) -> Words {
    let (id, html_name) = (order.order_id, escape(name));
    let what = if order.expired {
        format!("your order {id} was not paid in time. We have cancelled it, and nothing was charged.")
    } else {
        format!("your order {id} has been cancelled.")
    };
    Words {
        subject: format!("Your order {id} is cancelled"),
        text: format!("Hello {name},\n\n{what}\n\nPlumbline\n"),
        html: format!(
            "<!doctype html>\n<html lang=\"en\"><body>\n<p>Hello {html_name},</p>\n\
             <p>{what}</p>\n<p>Plumbline</p>\n</body></html>\n"
        ),
    }
}
