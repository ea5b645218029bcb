use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use chassis::Problem;

use super::Api;

const SCOPE: &str = "audit:read";
const RAW_SCOPE: &str = "audit:raw";

/// Proof that the caller may read. A handler that takes one is protected.
pub(super) struct Reader {
    pub(super) principal: String,
    /// Whether payloads may be shown.
    pub(super) raw: bool,
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Ready<Result<Reader, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(admit(request))
    }
}

fn admit(request: &HttpRequest) -> Result<Reader, Problem> {
    let api = request
        .app_data::<Data<Api>>()
        .ok_or_else(|| Problem::internal(anyhow::anyhow!("the API's state is missing")))?;
    let unauthenticated = || Problem::new(401u16, "unauthenticated", "not authenticated");
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(identity::bearer)
        .ok_or_else(|| unauthenticated().detail("the Authorization header holds no bearer token"))?;
    let caller = api
        .verifier
        .verify(token)
        .map_err(|rejected| unauthenticated().caused_by(rejected))?;
    if caller.has(SCOPE) {
        Ok(Reader {
            raw: caller.has(RAW_SCOPE),
            principal: caller.principal.clone(),
        })
    } else {
        Err(Problem::new(403u16, "insufficient-scope", "the token does not allow this").with("scope", SCOPE))
    }
}
