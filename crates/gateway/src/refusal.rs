//! Every way in which the gateway itself answers no, and what that looks like over HTTP.
//!
//! A refusal says what the caller can act on. Causes inside of the system are for the log alone.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use identity::Rejected;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("only HTTP/1.1 is spoken here")]
    Version,
    #[error("the method is not one of this API")]
    MethodUnknown,
    #[error("only the transfer coding `chunked` is understood")]
    TransferCoding,
    #[error("request bodies must not be encoded")]
    ContentCoding,
    #[error("only the expectation `100-continue` can be met")]
    Expectation,
    #[error("there is nothing at this path")]
    NotFound,
    #[error("the path does not have this method")]
    MethodNotAllowed(HeaderValue),
    #[error("a bearer token is required")]
    TokenMissing,
    #[error("the token is not valid: {0}")]
    TokenRejected(#[from] Rejected),
    #[error("the token lacks the scope {0}")]
    ScopeMissing(String),
    #[error("too many requests from this address")]
    AddressLimit(Duration),
    #[error("too many requests of this principal")]
    PrincipalLimit(Duration),
    #[error("the body is longer than {0} bytes")]
    BodyTooLong(usize),
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("the body broke off")]
    BodyBroken,
    #[error("too many requests are in flight")]
    Overloaded,
    #[error("no connection to the service: {0}")]
    NotSent(String),
    #[error("the connection to the service broke after the request was sent: {0}")]
    OutcomeUnknown(String),
    #[error("no answer within the route's timeout")]
    Deadline,
    #[error("{0}")]
    Internal(String),
}

/// What a client sees of a refusal. Where app-service has a problem of the same kind, type and title are the same.
pub(crate) struct Shape {
    pub(crate) status: StatusCode,
    /// The problem's type, without `urn:plumbline:problem:`.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    pub(crate) detail: Option<String>,
    pub(crate) headers: HeaderMap,
}

impl Refusal {
    pub(crate) fn shape(&self) -> Shape {
        let (status, slug, title) = self.kind();
        Shape {
            status,
            slug,
            title,
            detail: self.detail(),
            headers: self.headers(),
        }
    }

    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Refusal::Malformed(_) | Refusal::BodyBroken => {
                (S::BAD_REQUEST, "malformed-request", "the request is malformed")
            }
            Refusal::Version => (
                S::HTTP_VERSION_NOT_SUPPORTED,
                "http-version-not-supported",
                "the HTTP version is not supported",
            ),
            Refusal::MethodUnknown => (
                S::NOT_IMPLEMENTED,
                "method-not-implemented",
                "the method is not implemented",
            ),
            Refusal::TransferCoding => (
                S::NOT_IMPLEMENTED,
                "transfer-coding-not-implemented",
                "the transfer coding is not implemented",
            ),
            Refusal::ContentCoding => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "content-coding-unsupported",
                "the content coding is not supported",
            ),
            Refusal::Expectation => (
                S::EXPECTATION_FAILED,
                "expectation-failed",
                "the expectation cannot be met",
            ),
            Refusal::NotFound => (S::NOT_FOUND, "not-found", "there is no such thing"),
            Refusal::MethodNotAllowed(_) => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method Not Allowed")
            }
            Refusal::TokenMissing | Refusal::TokenRejected(_) => {
                (S::UNAUTHORIZED, "unauthenticated", "not authenticated")
            }
            Refusal::ScopeMissing(_) => (
                S::FORBIDDEN,
                "insufficient-scope",
                "the token does not allow this",
            ),
            Refusal::AddressLimit(_) | Refusal::PrincipalLimit(_) => {
                (S::TOO_MANY_REQUESTS, "rate-limited", "too many requests")
            }
            Refusal::BodyTooLong(_) => (S::PAYLOAD_TOO_LARGE, "body-too-large", "the body is too large"),
            Refusal::BodyTooSlow => (
                S::REQUEST_TIMEOUT,
                "body-timeout",
                "the body did not arrive in time",
            ),
            Refusal::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "too busy"),
            Refusal::NotSent(_) => (S::BAD_GATEWAY, "not-sent", "the request was not processed"),
            Refusal::OutcomeUnknown(_) => (S::BAD_GATEWAY, "outcome-unknown", "the outcome is unknown"),
            Refusal::Deadline => (
                S::GATEWAY_TIMEOUT,
                "deadline-exceeded",
                "the request took too long",
            ),
            Refusal::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal", "internal error"),
        }
    }

    /// The text of what the client did. A rejected token and what happened inside are not explained.
    fn detail(&self) -> Option<String> {
        match self {
            Refusal::TokenRejected(_) => Some("the token is not valid".to_owned()),
            Refusal::NotSent(_) | Refusal::OutcomeUnknown(_) | Refusal::Internal(_) => None,
            shown => Some(shown.to_string()),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        match self {
            Refusal::MethodNotAllowed(allow) => {
                headers.insert(header::ALLOW, allow.clone());
            }
            // RFC 6750: without a token there is no error to name.
            Refusal::TokenMissing => set(header::WWW_AUTHENTICATE, "Bearer".to_owned()),
            Refusal::TokenRejected(_) => {
                set(
                    header::WWW_AUTHENTICATE,
                    r#"Bearer error="invalid_token""#.to_owned(),
                );
            }
            Refusal::ScopeMissing(scope) => set(
                header::WWW_AUTHENTICATE,
                format!(r#"Bearer error="insufficient_scope", scope="{scope}""#),
            ),
            Refusal::AddressLimit(wait) | Refusal::PrincipalLimit(wait) => {
                set(header::RETRY_AFTER, whole_seconds(*wait).to_string());
            }
            Refusal::Overloaded => set(header::RETRY_AFTER, "1".to_owned()),
            _ => {}
        }
        if self.ends_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        headers
    }

    /// After these the two sides may disagree on where the next request begins, or the rest of the body is unwanted.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Refusal::Malformed(_)
                | Refusal::Version
                | Refusal::MethodUnknown
                | Refusal::TransferCoding
                | Refusal::Expectation
                | Refusal::BodyTooLong(_)
                | Refusal::BodyTooSlow
                | Refusal::BodyBroken
        )
    }
}

/// Rounded up: a client that waits as long as it is told is not told again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
