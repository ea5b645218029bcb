//! What operations answer besides what their handlers say: problems, of which many operations have the same, and 304.

use std::collections::BTreeMap;

use chassis::Kind;
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr};

use crate::problems;

/// Of operations, and read here: slugs of the problems that follow from their rules.
const PROBLEMS: &str = "x-problems";

/// The kinds that the operation names in `x-problems`, which is removed: the answers say it to clients.
pub(super) fn own_problems(operation: &mut Operation) -> Vec<&'static Kind> {
    let Some(extensions) = &mut operation.extensions else {
        return Vec::new();
    };
    let named = extensions.remove(PROBLEMS);
    if extensions.is_empty() {
        operation.extensions = None;
    }
    let named = named.as_ref().and_then(Value::as_array).into_iter().flatten();
    named
        .map(|slug| {
            let known = problems::ALL.iter().find(|kind| *slug == kind.slug);
            known.unwrap_or_else(|| panic!("{slug} is no kind of problem"))
        })
        .collect()
}

/// Any request may get these.
pub(super) const ALWAYS: [&Kind; 15] = [
    &problems::INVALID_QUERY,
    &problems::UNAUTHENTICATED,
    &problems::BODY_TOO_SLOW,
    &problems::OVERLOADED,
    &problems::DEADLINE_EXCEEDED,
    &problems::INTERNAL,
    &gateway::MALFORMED_REQUEST,
    &gateway::TRANSFER_CODING_UNSUPPORTED,
    &gateway::CONTENT_CODING_UNSUPPORTED,
    &gateway::EXPECTATION_FAILED,
    &gateway::HTTP_VERSION_NOT_SUPPORTED,
    &gateway::RATE_LIMITED,
    &gateway::BODY_TOO_LARGE,
    &gateway::NOT_SENT,
    &gateway::OUTCOME_UNKNOWN,
];

pub(super) const BODY: [&Kind; 5] = [
    &problems::UNSUPPORTED_MEDIA_TYPE,
    &problems::MALFORMED_JSON,
    &problems::INVALID_FIELDS,
    &problems::INCOMPLETE_BODY,
    &problems::OUTCOME_UNKNOWN,
];

pub(super) const REPEATED: [&Kind; 4] = [
    &problems::IDEMPOTENCY_KEY_REQUIRED,
    &problems::IDEMPOTENCY_KEY_INVALID,
    &problems::IDEMPOTENCY_KEY_REUSED,
    &problems::IDEMPOTENCY_KEY_IN_USE,
];

pub(super) const PRECONDITION: [&Kind; 3] = [
    &problems::PRECONDITION_REQUIRED,
    &problems::INVALID_PRECONDITION,
    &problems::STALE_VERSION,
];

/// What the gateway answers before a request reaches the application: its table is `crates/gateway/src/problems.rs`, and a test of the lab
/// holds the document against it.
mod gateway {
    use chassis::Kind;

    pub(super) const MALFORMED_REQUEST: Kind = Kind {
        status: 400,
        slug: "malformed-request",
        title: "the request is malformed",
        when: "The request can be read in two ways, or not at all.",
        remedy: "send a path, a Host and headers as HTTP/1.1 wants them, each singleton once",
    };
    pub(super) const TRANSFER_CODING_UNSUPPORTED: Kind = Kind {
        status: 400,
        slug: "transfer-coding-unsupported",
        title: "the transfer coding is not supported",
        when: "The body has another transfer coding than `chunked`.",
        remedy: "send the body with a Content-Length or `chunked`",
    };
    pub(super) const EXPECTATION_FAILED: Kind = Kind {
        status: 417,
        slug: "expectation-failed",
        title: "the expectation cannot be met",
        when: "Expect is something else than `100-continue`.",
        remedy: "send no other Expect than `100-continue`",
    };
    pub(super) const HTTP_VERSION_NOT_SUPPORTED: Kind = Kind {
        status: 505,
        slug: "http-version-not-supported",
        title: "the HTTP version is not supported",
        when: "The request is in HTTP/1.0.",
        remedy: "speak HTTP/1.1",
    };
    pub(super) const BODY_TOO_LARGE: Kind = Kind {
        status: 413,
        slug: "body-too-large",
        title: "the body is too large",
        when: "The body is longer than 64 KiB, or there is one where none is taken.",
        remedy: "send less",
    };
    pub(super) const CONTENT_CODING_UNSUPPORTED: Kind = Kind {
        status: 415,
        slug: "content-coding-unsupported",
        title: "the content coding is not supported",
        when: "The body has a Content-Encoding.",
        remedy: "send the body as it is",
    };
    pub(super) const RATE_LIMITED: Kind = Kind {
        status: 429,
        slug: "rate-limited",
        title: "too many requests",
        when: "The caller, or its address, has used up its quota.",
        remedy: "try again after the seconds that Retry-After says",
    };
    pub(super) const NOT_SENT: Kind = Kind {
        status: 502,
        slug: "not-sent",
        title: "the request was not processed",
        when: "No connection to the application could be made. Nothing was changed.",
        remedy: "try again",
    };
    pub(super) const OUTCOME_UNKNOWN: Kind = Kind {
        status: 502,
        slug: "outcome-unknown",
        title: "the outcome is unknown",
        when: "The connection to the application broke after the request had been sent.",
        remedy: "repeat a POST with the same Idempotency-Key; otherwise read before you try again",
    };
}

/// The error answers by name: many operations have the same.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) named: BTreeMap<String, RefOr<Response>>,
}

impl Answers {
    /// Gives the operation an answer for each status that these kinds have.
    pub(super) fn give(&mut self, operation: &mut Operation, kinds: &[&Kind]) {
        let mut statuses: Vec<u16> = kinds.iter().map(|kind| kind.status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let mut kinds: Vec<&Kind> = kinds
                .iter()
                .copied()
                .filter(|kind| kind.status == status)
                .collect();
            kinds.sort_by_key(|kind| kind.slug);
            kinds.dedup();
            let response = RefOr::Ref(self.of(&kinds));
            operation.responses.responses.insert(status.to_string(), response);
        }
    }

    /// The answer that holds these kinds, which have one status and are sorted.
    fn of(&mut self, kinds: &[&Kind]) -> Ref {
        let response = RefOr::T(answer(kinds));
        let status = kinds.first().map_or(0, |kind| kind.status);
        let mut names = (1..).map(|number| format!("{status}-{number}"));
        let free = |name: &String| self.named.get(name).is_none_or(|there| *there == response);
        let name = names.find(free).unwrap_or_default();
        let reference = Ref::from_response_name(&name);
        self.named.insert(name, response);
        reference
    }
}

/// The answer with one status, with an example of each kind of problem that has it.
fn answer(kinds: &[&Kind]) -> Response {
    let description = kinds.iter().map(|kind| format!("`{}`: {}", kind.slug, kind.when));
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for kind in kinds {
        let mut value = json!({
            "type": format!("urn:plumbline:problem:{}", kind.slug),
            "title": kind.title,
            "status": kind.status,
            "detail": kind.remedy,
            "request_id": "0198c5b7-6f00-7c3e-8f5b-1f3c7a9d2e10",
        });
        if let (Some(members), Value::Object(more)) = (value.as_object_mut(), extensions(kind)) {
            members.extend(more);
        }
        let example = ExampleBuilder::new()
            .summary(kind.title)
            .value(Some(value))
            .build();
        content = content.examples_from_iter([(kind.slug, example)]);
    }
    let mut response = ResponseBuilder::new()
        .description(description.collect::<Vec<_>>().join("\n\n"))
        .content("application/problem+json", content.build());
    let status = kinds.first().map_or(0, |kind| kind.status);
    if matches!(status, 429 | 503) || kinds.contains(&&problems::IDEMPOTENCY_KEY_IN_USE) {
        response = response.header("Retry-After", text_header("Seconds after which to try again."));
    }
    if matches!(status, 401 | 403) {
        response = response.header(
            "WWW-Authenticate",
            text_header("What the token lacks (RFC 6750)."),
        );
    }
    response.build()
}

/// What an example of this kind has besides RFC 9457's members; `ProblemBody` has them all.
fn extensions(kind: &Kind) -> Value {
    match *kind {
        problems::INVALID_FIELDS => json!({"errors": [
            {"pointer": "/name", "detail": "a name is 1 to 200 characters without control characters"},
            {"pointer": "/colour", "detail": "it is not known here"},
        ]}),
        problems::INVALID_QUERY => {
            json!({"errors": [{"parameter": "limit", "detail": "a limit is 1 to 100"}]})
        }
        problems::INSUFFICIENT_SCOPE => json!({"scope": "catalogue:write"}),
        problems::INSUFFICIENT_STOCK => {
            json!({"product_id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "available": 1})
        }
        problems::STALE_VERSION => json!({"current_etag": "\"1-2\""}),
        problems::ORDER_NOT_PAYABLE => json!({"order_status": "cancelled"}),
        problems::ORDER_NOT_SHIPPABLE => json!({"order_status": "placed"}),
        problems::ORDER_NOT_CANCELLABLE => json!({"order_status": "shipped"}),
        _ => Value::Null,
    }
}

pub(super) fn not_modified() -> Response {
    ResponseBuilder::new()
        .description("The client has the current version.")
        .header("ETag", text_header("The version."))
        .build()
}

fn text_header(description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(description))
        .build()
}
