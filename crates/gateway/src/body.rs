//! Request bodies are read whole before anything is sent on: nothing reaches app-service in part, or chunked.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use crate::auth::Permitted;
use crate::refusal::Refusal;
use crate::routes::Route;

/// How long a body may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The body, if it is within the route's limit and arrives in time. Nobody without permission gets `100 Continue`.
pub(crate) async fn read(route: &Route, _: &Permitted, body: Incoming) -> Result<Bytes, Refusal> {
    let too_long = Refusal::BodyTooLong(route.body_max);
    if body.size_hint().lower() > route.body_max as u64 {
        return Err(too_long);
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let body = Limited::new(body, route.body_max).collect();
    match tokio::time::timeout(TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long),
        Ok(Err(_)) => Err(Refusal::BodyBroken),
        Err(_) => Err(Refusal::BodyTooSlow),
    }
}
