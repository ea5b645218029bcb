//! `/v1/customers`.

pub(crate) mod get;
pub(crate) mod orders;
pub(crate) mod register;

use domain::{Customer, CustomerId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::shape;

/// A customer, as its endpoints answer with it.
#[derive(Serialize, ToSchema)]
#[schema(as = Customer, example = json!({
    "id": "0198c5b7-6a00-7b1d-8c3a-2d4e6f8a0b1c", "email": "ada@example.com", "name": "Ada", "version": 1
}))]
pub(crate) struct CustomerBody<'a> {
    #[schema(schema_with = shape::id)]
    id: CustomerId,
    #[schema(schema_with = shape::email)]
    email: &'a str,
    #[schema(schema_with = shape::person_name)]
    name: &'a str,
    #[schema(schema_with = shape::version)]
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
