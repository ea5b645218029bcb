//! Error answers.
//!
//! A [`Problem`] is what a client may know: a stable type, a title, a detail and named extensions (RFC 9457). What went wrong inside is
//! its cause, and goes to the log only.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::error::{JsonPayloadError, PathError, QueryPayloadError};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

/// An error answer; `Content-Type: application/problem+json`.
///
/// ```json
/// {"type": "urn:plumbline:problem:out-of-stock", "title": "not enough stock", "status": 409,
///  "detail": "3 left", "request_id": "0198…", "product_id": "0198…"}
/// ```
///
/// As a handler's error its body gets the request's id. The gateway, which has no handlers, calls [`to_bytes`](Self::to_bytes).
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    slug: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<String>,
    extensions: Map<String, Value>,
    /// Few problems have any, and every handler's result is as large as its error.
    headers: Option<Box<Headers>>,
    cause: Option<anyhow::Error>,
}

/// Headers that go with some problems.
#[derive(Debug, Default)]
struct Headers {
    retry_after: Option<u32>,
    allow: Option<String>,
}

impl Problem {
    /// `status` is a number or any crate's `StatusCode`; `slug` ends the type's URN and never changes once clients know it; `title` is
    /// the same for every problem of this type.
    pub fn new(status: impl Into<u16>, slug: &'static str, title: &'static str) -> Problem {
        Problem {
            status: StatusCode::from_u16(status.into()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            slug: Cow::Borrowed(slug),
            title: Cow::Borrowed(title),
            detail: None,
            extensions: Map::new(),
            headers: None,
            cause: None,
        }
    }

    /// 500, for what should not happen; the client learns only the request's id.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Problem {
        Problem::new(500u16, "internal", "internal error").caused_by(cause)
    }

    /// What is known when there is only a status: `404` is `not-found`, "Not Found".
    pub(crate) fn of_status(status: StatusCode) -> Problem {
        let title = status.canonical_reason().unwrap_or("error");
        Problem {
            status,
            slug: Cow::Owned(title.to_ascii_lowercase().replace(' ', "-")),
            title: Cow::Borrowed(title),
            detail: None,
            extensions: Map::new(),
            headers: None,
            cause: None,
        }
    }

    /// A sentence about this occurrence, for people.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    /// A member of the body, for programs. The names of RFC 9457 and `request_id` are taken.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Problem {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// After how many seconds the same request may succeed: the `Retry-After` header.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.headers.get_or_insert_default().retry_after = Some(seconds);
        self
    }

    /// The methods that the resource has: the `Allow` header, which a 405 must have.
    #[must_use]
    pub fn allow(mut self, methods: impl Into<String>) -> Problem {
        self.headers.get_or_insert_default().allow = Some(methods.into());
        self
    }

    /// What happened inside. It is logged and never sent.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<anyhow::Error>) -> Problem {
        self.cause = Some(cause.into());
        self
    }

    /// The status as a number.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// What ends the type's URN; the `error.type` of logs.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// What happened inside, for the log.
    pub fn cause(&self) -> Option<&anyhow::Error> {
        self.cause.as_ref()
    }

    /// The body: one JSON object with the request's id.
    pub fn to_bytes(&self, request_id: impl fmt::Display) -> Vec<u8> {
        self.body(Some(request_id.to_string()))
    }

    fn body(&self, request_id: Option<String>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<String>,
            #[serde(flatten)]
            extensions: &'a Map<String, Value>,
        }
        let body = Body {
            r#type: format!("urn:plumbline:problem:{}", self.slug),
            title: &self.title,
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            request_id,
            extensions: &self.extensions,
        };
        serde_json::to_vec(&body).expect("strings, numbers and JSON values serialise")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.title, self.status.as_u16())?;
        match &self.detail {
            Some(detail) => write!(out, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(cause: anyhow::Error) -> Problem {
        Problem::internal(cause)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, CONTENT_TYPE));
        let (retry_after, allow) = match &self.headers {
            Some(headers) => (headers.retry_after, headers.allow.as_deref()),
            None => (None, None),
        };
        if let Some(seconds) = retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(methods) = allow {
            response.insert_header((header::ALLOW, methods));
        }
        response.body(self.body(None))
    }
}

/// A body that is not the JSON that the handler wants. serde's message names the field and only repeats what the client sent.
pub(crate) fn of_json(error: &JsonPayloadError) -> Problem {
    match error {
        JsonPayloadError::OverflowKnownLength { limit, .. } | JsonPayloadError::Overflow { limit } => {
            Problem::new(413u16, "body-too-large", "the body is too large").with("limit_bytes", *limit)
        }
        JsonPayloadError::ContentType => Problem::new(
            415u16,
            "unsupported-media-type",
            "the body is not application/json",
        ),
        JsonPayloadError::Deserialize(error) => {
            Problem::new(400u16, "invalid-body", "the body is not valid").detail(error.to_string())
        }
        error => Problem::of_status(error.status_code()),
    }
}

/// A path segment that is not of the handler's type, such as an id that is no UUID.
pub(crate) fn of_path(error: &PathError) -> Problem {
    Problem::new(400u16, "invalid-path", "the path is not valid").detail(error.to_string())
}

/// A query string that the handler cannot read.
pub(crate) fn of_query(error: &QueryPayloadError) -> Problem {
    Problem::new(400u16, "invalid-query", "the query is not valid").detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use serde_json::json;

    use super::*;

    fn check(problem: &Problem, expected: Value) {
        let body: Value = serde_json::from_slice(&problem.to_bytes("r-1")).unwrap();
        assert_eq!(body, expected);
    }

    #[test]
    fn the_body_is_the_rfc_s_members_the_request_id_and_the_extensions() {
        check(
            &Problem::new(409u16, "out-of-stock", "not enough stock")
                .detail("3 left")
                .with("available", 3)
                .with("pointer", "/lines/0/quantity"),
            json!({
                "type": "urn:plumbline:problem:out-of-stock", "title": "not enough stock", "status": 409, "detail": "3 left",
                "request_id": "r-1", "available": 3, "pointer": "/lines/0/quantity",
            }),
        );
        check(
            &Problem::of_status(StatusCode::METHOD_NOT_ALLOWED),
            json!({
                "type": "urn:plumbline:problem:method-not-allowed", "title": "Method Not Allowed", "status": 405, "request_id": "r-1",
            }),
        );
    }

    #[test]
    fn a_cause_is_kept_for_the_log_and_is_not_in_the_body() {
        let problem = Problem::from(anyhow!("password authentication failed"));
        assert!(problem.cause().is_some());
        check(
            &problem,
            json!({"type": "urn:plumbline:problem:internal", "title": "internal error", "status": 500, "request_id": "r-1"}),
        );
    }
}
