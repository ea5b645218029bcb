//! Ids in paths.

use std::future::{Ready, ready};
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use chassis::Problem;
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};

use crate::problems::INVALID_PATH;

/// The `{id}` of the route. In the one form in which the API writes ids: an alias would be a second URL of the same
/// resource, and another request to an idempotency key.
pub(crate) struct Id<T>(T);

impl<T> Deref for Id<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> FromRequest for Id<T> {
    type Error = Problem;
    type Future = Ready<Result<Id<T>, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.match_info().get("id").unwrap_or_default();
        ready(
            parse(id)
                .map(Id)
                .ok_or_else(|| INVALID_PATH.because("the id is not a UUID in lower case with hyphens")),
        )
    }
}

/// A UUID as the API writes it: lower case, with hyphens.
pub(crate) fn parse<T: DeserializeOwned>(id: &str) -> Option<T> {
    let usual = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    let deserializer: StrDeserializer<'_, Error> = id.into_deserializer();
    usual.then(|| T::deserialize(deserializer).ok()).flatten()
}
