//! Every way in which the gateway itself answers no, and what that looks like over HTTP.
//!
//! A refusal says what the caller can act on. Causes inside of the system are for the log alone.

use std::time::Duration;

use chassis::Kind;
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};
use identity::Rejected;

use crate::problems;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("only HTTP/1.1 is spoken here")]
    Version,
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

/// What a client sees of a refusal.
pub(crate) struct Shape {
    pub(crate) status: StatusCode,
    /// The problem's type, without `urn:plumbline:problem:`.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    pub(crate) headers: HeaderMap,
}

impl Refusal {
    pub(crate) fn shape(&self) -> Shape {
        let kind = self.kind();
        Shape {
            // The list has statuses that exist; a test answers with each.
            status: StatusCode::from_u16(kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            slug: kind.slug,
            title: kind.title,
            detail: self.detail(kind),
            headers: self.headers(),
        }
    }

    fn kind(&self) -> &'static Kind {
        match self {
            Refusal::Malformed(_) | Refusal::BodyBroken => &problems::MALFORMED_REQUEST,
            Refusal::Version => &problems::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::TransferCoding => &problems::TRANSFER_CODING_UNSUPPORTED,
            Refusal::ContentCoding => &problems::CONTENT_CODING_UNSUPPORTED,
            Refusal::Expectation => &problems::EXPECTATION_FAILED,
            Refusal::NotFound => &problems::NOT_FOUND,
            Refusal::MethodNotAllowed(_) => &problems::METHOD_NOT_ALLOWED,
            Refusal::TokenMissing | Refusal::TokenRejected(_) => &problems::UNAUTHENTICATED,
            Refusal::ScopeMissing(_) => &problems::INSUFFICIENT_SCOPE,
            Refusal::AddressLimit(_) | Refusal::PrincipalLimit(_) => &problems::RATE_LIMITED,
            Refusal::BodyTooLong(_) => &problems::BODY_TOO_LARGE,
            Refusal::BodyTooSlow => &problems::BODY_TOO_SLOW,
            Refusal::Overloaded => &problems::OVERLOADED,
            Refusal::NotSent(_) => &problems::NOT_SENT,
            Refusal::OutcomeUnknown(_) => &problems::OUTCOME_UNKNOWN,
            Refusal::Deadline => &problems::DEADLINE_EXCEEDED,
            Refusal::Internal(_) => &problems::INTERNAL,
        }
    }

    /// What the client did, and what it can do. Why a token was rejected and what happened inside are not explained.
    fn detail(&self, kind: &Kind) -> String {
        let remedy = kind.remedy;
        match self {
            Refusal::TokenRejected(_) => format!("the token is not valid; {remedy}"),
            Refusal::NotSent(_) | Refusal::OutcomeUnknown(_) | Refusal::Internal(_) => remedy.to_owned(),
            shown => format!("{shown}; {remedy}"),
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
