//! The answer that a client gets.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Method, Response};
use http_body_util::{Either, Full};

use crate::refusal::Refusal;
use crate::upstream::Relay;

/// A problem of our own, or a body of app-service's as it comes.
pub(crate) type Answer = Response<Either<Full<Bytes>, Relay>>;

/// What app-service's header may say to a client. All others stop here.
const RETURNED: [HeaderName; 12] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    // With these two the pages of the documentation say what they may run.
    header::CONTENT_SECURITY_POLICY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
    HeaderName::from_static("cache-status"),
];

/// App-service's answer without the headers that are nobody else's business.
pub(crate) fn clean(method: &Method, reply: Response<Relay>) -> Answer {
    let (mut parts, relay) = reply.into_parts();
    let mut headers = HeaderMap::with_capacity(RETURNED.len());
    for name in RETURNED {
        for value in parts.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    // The length of other answers follows from their bodies.
    if *method == Method::HEAD
        && let Some(length) = parts.headers.get(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, length.clone());
    }
    parts.headers = headers;
    Response::from_parts(parts, Either::Right(relay))
}

/// The problem that tells a client of `refusal`.
pub(crate) fn refuse(refusal: &Refusal, request_id: &str) -> Answer {
    let shape = refusal.shape();
    let problem = chassis::Problem::new(shape.status, shape.slug, shape.title).detail(shape.detail);
    let body = Full::new(Bytes::from(problem.to_bytes(request_id)));
    let mut response = Response::new(Either::Left(body));
    *response.status_mut() = shape.status;
    *response.headers_mut() = shape.headers;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    response
}
