//! The mails: what each says, as text and as HTML.

mod money;
mod order_cancelled;
mod order_confirmation;
mod order_shipped;
mod welcome;

use anyhow::{Context as _, bail};
use events::Order;
use lettre::Message;
use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::delivery::Claim;

/// A mail to write, with what it needs besides the customer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Welcome,
    OrderConfirmation(order_confirmation::Params),
    OrderShipped(order_shipped::Params),
    OrderCancelled(order_cancelled::Params),
}

/// A mail's words.
#[derive(Debug)]
pub(crate) struct Words {
    subject: String,
    text: String,
    html: String,
}

impl Template {
    pub(crate) fn order_confirmation(order: &Order) -> Template {
        Template::OrderConfirmation(order_confirmation::Params::of(order))
    }

    pub(crate) fn order_shipped(order: &Order) -> Template {
        Template::OrderShipped(order_shipped::Params::of(order))
    }

    pub(crate) fn order_cancelled(order: &Order) -> Template {
        Template::OrderCancelled(order_cancelled::Params::of(order))
    }

    /// As stored in `email_delivery.template`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Template::Welcome => "welcome",
            Template::OrderConfirmation(_) => "order_confirmation",
            Template::OrderShipped(_) => "order_shipped",
            Template::OrderCancelled(_) => "order_cancelled",
        }
    }

    /// As stored in `email_delivery.params`.
    pub(crate) fn params(&self) -> anyhow::Result<Value> {
        match self {
            Template::Welcome => Ok(json!({})),
            Template::OrderConfirmation(params) => serde_json::to_value(params),
            Template::OrderShipped(params) => serde_json::to_value(params),
            Template::OrderCancelled(params) => serde_json::to_value(params),
        }
        .context("cannot serialise a mail's parameters")
    }

    fn stored(name: &str, params: &Value) -> anyhow::Result<Template> {
        let template = match name {
            "welcome" => Ok(Template::Welcome),
            "order_confirmation" => {
                order_confirmation::Params::deserialize(params).map(Template::OrderConfirmation)
            }
            "order_shipped" => order_shipped::Params::deserialize(params).map(Template::OrderShipped),
            "order_cancelled" => order_cancelled::Params::deserialize(params).map(Template::OrderCancelled),
            _ => bail!("no template is called {name}"),
        };
        template.with_context(|| format!("the parameters of a mail by the template {name} are unreadable"))
    }

    fn words(&self, name: &str) -> Words {
        match self {
            Template::Welcome => welcome::words(name),
            Template::OrderConfirmation(params) => order_confirmation::words(name, params),
            Template::OrderShipped(params) => order_shipped::words(name, params),
            Template::OrderCancelled(params) => order_cancelled::words(name, params),
        }
    }
}

/// The message of a claimed delivery.
pub(crate) fn compose(claim: &Claim, from: &Mailbox) -> anyhow::Result<Message> {
    // A name is what the customer typed; a line break in it belongs neither in a header nor in a greeting.
    let name: String = claim.recipient_name.chars().filter(|c| !c.is_control()).collect();
    let words = Template::stored(&claim.template, &claim.params)?.words(&name);
    let address: Address = claim
        .recipient
        .parse()
        .context("the recipient's address is not valid")?;
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(Some(name), address))
        .subject(words.subject)
        .message_id(Some(format!("<{}@plumbline.localhost>", claim.message_id)))
        .date_now()
        // RFC 3834: no vacation notice should answer.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .multipart(MultiPart::alternative_plain_html(words.text, words.html))
        .context("cannot build the message")
}

/// `text` as HTML character data or a quoted attribute value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn claim(template: &Template, name: &str) -> Claim {
        Claim {
            id: 1,
            epoch: 1,
            attempts: 1,
            event_id: Uuid::from_u128(1),
            template: template.name().to_owned(),
            params: template.params().unwrap(),
            recipient: "ada@example.com".to_owned(),
            recipient_name: name.to_owned(),
            message_id: Uuid::from_u128(2),
            traceparent: None,
        }
    }

    fn message(template: &Template, name: &str) -> String {
        let from = "Plumbline <no-reply@plumbline.localhost>".parse().unwrap();
        let message = compose(&claim(template, name), &from).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn a_message_has_its_fixed_id_both_bodies_and_only_ascii() {
        let text = message(&Template::Welcome, "Ada Łovelace");
        assert!(text.is_ascii());
        for expected in [
            "Message-ID: <00000000-0000-0000-0000-000000000002@plumbline.localhost>",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain",
            "Content-Type: text/html",
            "<ada@example.com>",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn a_name_is_neither_markup_nor_a_header() {
        let words = Template::Welcome.words("<script>\"&'");
        assert!(
            words.html.contains("&lt;script&gt;&quot;&amp;&#39;"),
            "{}",
            words.html
        );
        assert!(words.text.contains("<script>\"&'"));
        let text = message(&Template::Welcome, "Ada\r\nBcc: eve@example.com");
        assert!(!text.contains("\r\nBcc:"), "{text}");
    }

    #[test]
    fn a_template_is_read_back_as_it_was_stored() {
        let order = order("expired");
        for template in [
            Template::Welcome,
            Template::OrderConfirmation(order_confirmation::tests::params()),
            Template::order_shipped(&order),
            Template::order_cancelled(&order),
        ] {
            let stored = template.params().unwrap();
            assert_eq!(Template::stored(template.name(), &stored).unwrap(), template);
            assert!(Template::stored("receipt", &stored).is_err());
        }
    }

    #[test]
    fn a_mail_about_an_orders_end_says_which_order_and_how_it_ended() {
        let shipped = Template::order_shipped(&order("expired"));
        let expired = Template::order_cancelled(&order("expired"));
        let cancelled = Template::order_cancelled(&order("customer"));
        for (template, expected) in [
            (shipped, "shipped"),
            (expired, "not paid in time"),
            (cancelled, "has been cancelled"),
        ] {
            let words = template.words("Ada");
            for body in [&words.text, &words.html] {
                for expected in ["Ada", "00000000-0000-0000-0000-000000000007", expected] {
                    assert!(body.contains(expected), "{expected} in {body}");
                }
            }
        }
    }

    fn order(reason: &str) -> Order {
        Order {
            id: Uuid::from_u128(7),
            customer_id: Uuid::from_u128(1),
            status: events::OrderStatus::Cancelled,
            currency: "EUR".to_owned(),
            total_minor: 0,
            lines: Vec::new(),
            placed_at: time::OffsetDateTime::UNIX_EPOCH,
            paid_at: None,
            shipped_at: None,
            cancelled_at: None,
            reason: Some(reason.to_owned()),
            version: 2,
        }
    }
}
