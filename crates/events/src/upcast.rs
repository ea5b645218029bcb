//! Lifts a payload from the schema version that it was written in to the one that is read.
//!
//! One pure step per version: `fn vN_to_next(Value) -> Value`, found by type and N. A step is
//! added in the release that raises a type's version, together with golden bytes of the old one.

use serde_json::Value;

use crate::SCHEMA_VERSION;

type Step = fn(Value) -> Value;

/// The step from `version` of `kind` to the next.
type Steps = fn(kind: &str, version: u16) -> Option<Step>;

/// No type has had a second version yet.
fn published(_kind: &str, _version: u16) -> Option<Step> {
    None
}

pub(crate) fn to_current(kind: &str, version: u16, payload: Value) -> Value {
    lift(published, kind, version, SCHEMA_VERSION, payload)
}

fn lift(steps: Steps, kind: &str, from: u16, to: u16, payload: Value) -> Value {
    (from..to).fold(payload, |payload, version| match steps(kind, version) {
        Some(step) => step(payload),
        // An additive change: the payload is already readable.
        None => payload,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_step_is_applied_once_and_in_order() {
        fn cents(mut payload: Value) -> Value {
            let euros = payload["price"].as_i64().unwrap();
            payload["price_minor"] = json!(euros * 100);
            payload
        }
        fn currency(mut payload: Value) -> Value {
            payload["currency"] = json!("EUR");
            payload["had_minor"] = json!(payload["price_minor"].is_i64());
            payload
        }
        fn steps(kind: &str, version: u16) -> Option<Step> {
            match (kind, version) {
                ("a", 1) => Some(cents),
                ("a", 2) => Some(currency),
                _ => None,
            }
        }
        let lifted = lift(steps, "a", 1, 3, json!({"price": 7}));
        assert_eq!(
            lifted,
            json!({"price": 7, "price_minor": 700, "currency": "EUR", "had_minor": true})
        );
        assert_eq!(lift(steps, "a", 3, 3, json!({})), json!({}));
        assert_eq!(lift(steps, "b", 1, 3, json!({"x": 1})), json!({"x": 1}));
    }
}
