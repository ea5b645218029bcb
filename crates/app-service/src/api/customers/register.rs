use actix_web::web::Data;
use chassis::Problem;
use domain::{Customer, CustomerId, EmailAddress, PersonName};
use events::fact;
use identity::Caller;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::CustomerBody;
use crate::answer::Answer;
use crate::api::scopes::CUSTOMERS_WRITE;
use crate::app::App;
use crate::call::Call;
use crate::models::customer;
use crate::post::Post;
use crate::problems::{ALREADY_REGISTERED, EMAIL_NOT_VERIFIED};
use crate::shape;
use crate::write::{Decided, write_once};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Ada"}))]
struct Registration {
    #[schema(schema_with = shape::person_name)]
    name: String,
}

/// `POST /v1/customers`: the caller becomes a customer, once.
#[utoipa::path(
    post,
    path = "/v1/customers",
    tag = "customers",
    summary = "Register the caller",
    description = "Once for each caller, with the e-mail address that the token has as verified.",
    request_body = Registration,
    responses((status = 201, description = "The customer.", body = CustomerBody, headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Where it is.")))),
    security(("bearer" = ["customers:write"])),
    extensions(("x-problems" = json!(["email-not-verified", "already-registered"]))),
)]
pub(crate) async fn register(app: Data<App>, call: Call, post: Post) -> Result<Answer, Problem> {
    let caller = call.with_scope(CUSTOMERS_WRITE)?;
    let email = verified_email(caller)?;
    let (registration, mut fields) = post.read::<Registration>()?;
    let name = fields.check("/name", PersonName::parse(&registration.name));
    let Some(name) = name else {
        return Err(fields.problem());
    };
    fields.finish()?;
    let id = CustomerId(Uuid::now_v7());
    let customer = Customer::register(id, caller.principal.clone(), email, name);
    write_once(&app, &call, &post, async |conn| {
        if !customer::insert_in_txn(conn, &customer).await? {
            return Err(ALREADY_REGISTERED.problem());
        }
        let location = format!("/v1/customers/{}", customer.id);
        let answer = Answer::created(location, &CustomerBody::of(&customer)).version(customer.version);
        Ok(Decided::new(answer, [fact::customer_registered(&customer)]))
    })
    .await
}

/// Only an address that the token's issuer has verified; a body can't bring another.
fn verified_email(caller: &Caller) -> Result<EmailAddress, Problem> {
    let email = caller.email.as_deref();
    let email =
        email.ok_or_else(|| EMAIL_NOT_VERIFIED.because("the token has no verified e-mail address"))?;
    EmailAddress::parse(email).map_err(|why| EMAIL_NOT_VERIFIED.because(why))
}
