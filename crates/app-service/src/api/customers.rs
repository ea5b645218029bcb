//! `/v1/customers`.

pub(crate) mod get;
pub(crate) mod orders;
pub(crate) mod register;

use domain::{Customer, CustomerId};
use serde::Serialize;

/// A customer, as its endpoints answer with it.
#[derive(Serialize)]
pub(crate) struct CustomerBody<'a> {
    id: CustomerId,
    email: &'a str,
    name: &'a str,
    version: i64,
}

impl CustomerBody<'_> {
    pub(crate) fn of(customer: &Customer) -> CustomerBody<'_> {
        CustomerBody {
            id: customer.id,
            email: customer.email.as_str(),
            name: customer.name.as_str(),
            version: customer.version.get(),
        }
    }
}
