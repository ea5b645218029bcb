//! `plumbline.customers.v1`.

use envelope::Fact;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{SCHEMA_VERSION, json, topics};

/// A customer's state after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub id: Uuid,
    /// `<source>:<id>`.
    pub principal: String,
    pub email: String,
    pub name: String,
    pub version: i64,
}

pub(crate) const REGISTERED: &str = "plumbline.customer.registered";
pub(crate) const RESTATED: &str = "plumbline.customer.restated";

pub fn customer_registered(customer: &domain::Customer) -> Fact {
    customer_fact(REGISTERED, customer)
}

pub fn customer_restated(customer: &domain::Customer) -> Fact {
    customer_fact(RESTATED, customer)
}

fn customer_fact(kind: &'static str, customer: &domain::Customer) -> Fact {
    Fact {
        topic: topics::CUSTOMERS,
        kind,
        schema_version: SCHEMA_VERSION,
        aggregate_type: "customer",
        aggregate_id: customer.id.0,
        aggregate_version: customer.version.get(),
        payload: json(&Customer {
            id: customer.id.0,
            principal: customer.principal.clone(),
            email: customer.email.as_str().to_owned(),
            name: customer.name.as_str().to_owned(),
            version: customer.version.get(),
        }),
    }
}
