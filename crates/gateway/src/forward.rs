//! The request that app-service gets: rebuilt from what was proved, never passed through.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use crate::assertion::Assertion;
use crate::refusal::Refusal;
use crate::sanity::Sane;

pub(crate) const IDENTITY: HeaderName = HeaderName::from_static("x-plumbline-identity");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("x-request-deadline-ms");

/// What a client's header may say to app-service. All others stop here.
const FORWARDED: [HeaderName; 7] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::USER_AGENT,
    HeaderName::from_static("idempotency-key"),
];

/// What the gateway itself says to app-service.
const MINTED: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    IDENTITY,
    REQUEST_ID,
    TRACEPARENT,
    DEADLINE,
];

/// A user agent is for statistics; what follows this many bytes is cut off.
const MOST_USER_AGENT: usize = 256;

/// Whether app-service gets a header of this name, from the client or from the gateway.
pub(crate) fn is_meant_for_upstream(name: &str) -> bool {
    FORWARDED
        .iter()
        .chain(&MINTED)
        .any(|forwarded| forwarded.as_str().eq_ignore_ascii_case(name))
}

/// The request for app-service, but for the headers that are only known when it is sent: `host`, `traceparent` and
/// `x-request-deadline-ms`.
pub(crate) fn rebuild(
    head: &Sane,
    assertion: Assertion,
    request_id: &HeaderValue,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let target = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    let target = Uri::try_from(target).map_err(|error| Refusal::Internal(error.to_string()))?;
    let mut headers = HeaderMap::with_capacity(16);
    for name in FORWARDED {
        for value in head.headers().get_all(&name) {
            headers.append(&name, shortened(&name, value));
        }
    }
    headers.insert(IDENTITY, assertion.into_header());
    headers.insert(REQUEST_ID, request_id.clone());
    if !body.is_empty() || matches!(*head.method(), Method::POST | Method::PUT | Method::PATCH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method().clone();
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    Ok(request)
}

fn shortened(name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    let bytes = value.as_bytes();
    if *name == header::USER_AGENT && bytes.len() > MOST_USER_AGENT {
        // Each part of a header's value is one.
        HeaderValue::from_bytes(&bytes[..MOST_USER_AGENT]).unwrap_or_else(|_| value.clone())
    } else {
        value.clone()
    }
}
