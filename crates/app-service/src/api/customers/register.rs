use actix_web::web::Data;
use chassis::Problem;
use domain::{Customer, CustomerId, EmailAddress, PersonName};
use events::fact;
use identity::Caller;
use serde::Deserialize;
use uuid::Uuid;

use super::CustomerBody;
use crate::answer::Answer;
use crate::api::scopes::CUSTOMERS_WRITE;
use crate::app::App;
use crate::body::{Body, invalid};
use crate::call::Call;
use crate::models::customer;
use crate::refusal::conflict;
use crate::write::{Decided, write};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    name: String,
}

/// `POST /v1/customers`: the caller becomes a customer, once.
pub(crate) async fn register(app: Data<App>, call: Call, body: Body) -> Result<Answer, Problem> {
    let caller = call.with_scope(CUSTOMERS_WRITE)?;
    let email = verified_email(caller)?;
    let registration: Registration = body.json()?;
    let name = PersonName::parse(&registration.name).map_err(|why| invalid("/name", why))?;
    let id = CustomerId(Uuid::now_v7());
    let customer = Customer::register(id, caller.principal.clone(), email, name);
    write(&app, &call, async |conn| {
        if !customer::insert_in_txn(conn, &customer).await? {
            return Err(conflict("already-registered", "the caller is a customer already"));
        }
        let location = format!("/v1/customers/{}", customer.id);
        let answer = Answer::created(location, &CustomerBody::of(&customer)).version(customer.version);
        Ok(Decided::new(answer, [fact::customer_registered(&customer)]))
    })
    .await
}

/// Only an address that the token's issuer has verified; a body can't bring another.
fn verified_email(caller: &Caller) -> Result<EmailAddress, Problem> {
    let unverified = |detail: &str| {
        Problem::new(
            403u16,
            "email-not-verified",
            "a verified e-mail address is needed",
        )
        .detail(detail)
    };
    let email = caller.email.as_deref();
    let email = email.ok_or_else(|| unverified("the token has no verified e-mail address"))?;
    EmailAddress::parse(email).map_err(|why| unverified(&why.to_string()))
}
