//! The API's description (OpenAPI 3.1), for machines and for the pages in `docs.rs`.
//!
//! What is particular to an endpoint stands beside its handler: bodies, parameters, rights, and in `x-problems` the kinds of problems that
//! only it has. What follows from the shape of an operation is added here: a POST takes an idempotency key, a path with an id has a
//! 404, every request can be too many. `docs/openapi.json` is this document; a test writes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Required};

use crate::api::{customers, orders, products};
use crate::problems::{self, Kind};
use crate::shape;

/// Of operations, and read here: slugs of the problems that follow from their rules.
const PROBLEMS: &str = "x-problems";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Plumbline storefront",
        description = "Products, customers and orders. Every error is a problem (RFC 9457), whose `type` is stable; `docs/problems.md` lists them. \
                       Money is in minor units with an ISO 4217 code. A GET answers with an ETag where the resource has a version; \
                       send it as `If-Match` to change exactly that version. Every POST takes an `Idempotency-Key`: repeated with the same \
                       key and body within 24 hours, it is answered again and not done again.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/")),
    tags(
        (name = "products", description = "The catalogue and its stock"),
        (name = "customers", description = "People who buy"),
        (name = "orders", description = "From placing to shipment")
    ),
    paths(
        products::list::list,
        products::create::create,
        products::get::get,
        products::edit::edit,
        products::get_stock::get_stock,
        products::adjust_stock::adjust_stock,
        customers::register::register,
        customers::get::get,
        customers::orders::orders,
        orders::place::place,
        orders::get::get,
        orders::pay::pay,
        orders::ship::ship,
        orders::cancel::cancel,
    ),
    components(schemas(ProblemBody))
)]
struct Declared;

/// An error answer.
#[derive(utoipa::ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it describes what `chassis::Problem` writes")]
struct ProblemBody {
    /// What kind of problem it is; stable.
    #[schema(pattern = "^urn:plumbline:problem:[a-z-]+$")]
    r#type: String,
    /// The same for every problem of this type.
    title: String,
    /// The answer's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// For people: what is wrong and what to do.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Names this request in logs and traces.
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// Each thing that is wrong with the body or the query.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
}

/// One thing that is wrong.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `Fields` writes")]
struct FieldError {
    /// Where in the body (RFC 6901).
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// Which parameter of the query.
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong.
    detail: String,
}

/// The whole document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Declared::openapi();
    document.info.version = "1".to_owned();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "An access token of a configured issuer. Operations name the scopes that it must hold; who owns a resource needs none.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (name, schema) in shape::named() {
        components.schemas.insert(name.to_owned(), RefOr::T(schema));
    }
    let mut answers = Answers::default();
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("PATCH", &mut item.patch),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                complete(method, path, operation, &mut answers);
            }
        }
    }
    components.responses.extend(answers.named);
    link(&mut document);
    document
}

/// Says of what a POST made what can be done with it.
fn link(document: &mut utoipa::openapi::OpenApi) {
    let operations: Vec<(String, String)> = document
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| {
            let operations = [&item.get, &item.post, &item.patch].into_iter().flatten();
            let ids = operations.filter_map(|operation| operation.operation_id.clone());
            ids.map(|id| (path.clone(), id))
        })
        .collect();
    for (path, item) in &mut document.paths.paths {
        let created = item
            .post
            .as_mut()
            .and_then(|post| post.responses.responses.get_mut("201"));
        let Some(RefOr::T(created)) = created else {
            continue;
        };
        let one = format!("{path}/{{id}}");
        for (_, id) in operations.iter().filter(|(path, _)| path.starts_with(&one)) {
            let link = LinkBuilder::new()
                .operation_id(id)
                .parameter("id", "$response.body#/id")
                .build();
            created.links.insert(id.clone(), RefOr::T(link));
        }
    }
}

fn complete(method: &str, path: &str, operation: &mut Operation, answers: &mut Answers) {
    name(operation);
    let mut kinds = own_problems(operation);
    kinds.extend(ALWAYS);
    if path.contains("{id}") {
        add_parameter(operation, id());
        kinds.extend([&problems::INVALID_PATH, &problems::NOT_FOUND]);
    }
    if has_scopes(operation) {
        kinds.push(&problems::INSUFFICIENT_SCOPE);
    }
    match method {
        "POST" => {
            operation.request_body.get_or_insert_with(nothing);
            add_parameter(operation, idempotency_key());
            kinds.extend(BODY);
            kinds.extend(REPEATED);
        }
        "PATCH" => {
            add_parameter(operation, if_match());
            kinds.extend(BODY);
            kinds.extend(PRECONDITION);
        }
        _ => {
            if has_etag(operation) {
                add_parameter(operation, if_none_match());
                operation
                    .responses
                    .responses
                    .insert("304".to_owned(), RefOr::T(not_modified()));
            }
        }
    }
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
        let response = RefOr::Ref(answers.of(&kinds));
        operation.responses.responses.insert(status.to_string(), response);
    }
}

/// Handlers have short names, which are unique only together with their tag.
fn name(operation: &mut Operation) {
    let tag = operation
        .tags
        .iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_default();
    let handler = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{tag}_{handler}"));
}

/// The error answers by name: many operations have the same.
#[derive(Default)]
struct Answers {
    named: BTreeMap<String, RefOr<Response>>,
}

impl Answers {
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

/// Any request may get these.
const ALWAYS: [&Kind; 11] = [
    &problems::INVALID_QUERY,
    &problems::UNAUTHENTICATED,
    &problems::OVERLOADED,
    &problems::DEADLINE_EXCEEDED,
    &gateway::MALFORMED_REQUEST,
    &gateway::RATE_LIMITED,
    &gateway::NOT_SENT,
    &gateway::OUTCOME_UNKNOWN,
    &gateway::BODY_TOO_LARGE,
    &gateway::CONTENT_CODING_UNSUPPORTED,
    &INTERNAL,
];

const BODY: [&Kind; 6] = [
    &problems::UNSUPPORTED_MEDIA_TYPE,
    &problems::MALFORMED_JSON,
    &problems::INVALID_FIELDS,
    &problems::INCOMPLETE_BODY,
    &problems::OUTCOME_UNKNOWN,
    &gateway::BODY_TIMEOUT,
];

const REPEATED: [&Kind; 4] = [
    &problems::IDEMPOTENCY_KEY_REQUIRED,
    &problems::IDEMPOTENCY_KEY_INVALID,
    &problems::IDEMPOTENCY_KEY_REUSED,
    &problems::IDEMPOTENCY_KEY_IN_USE,
];

const PRECONDITION: [&Kind; 3] = [
    &problems::PRECONDITION_REQUIRED,
    &problems::INVALID_PRECONDITION,
    &problems::STALE_VERSION,
];

const INTERNAL: Kind = Kind {
    status: 500,
    slug: "internal",
    title: "internal error",
    when: "Something is wrong with the service.",
    remedy: "tell its operators the request_id",
};

/// What the gateway answers before a request reaches the application.
mod gateway {
    use crate::problems::Kind;

    pub(super) const MALFORMED_REQUEST: Kind = Kind {
        status: 400,
        slug: "malformed-request",
        title: "the request is malformed",
        when: "The request can be read in two ways, or not at all.",
        remedy: "send a path, a Host and headers as HTTP/1.1 wants them, each singleton once",
    };
    pub(super) const BODY_TIMEOUT: Kind = Kind {
        status: 408,
        slug: "body-timeout",
        title: "the body did not arrive in time",
        when: "The body came too slowly.",
        remedy: "send the request again",
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

/// The kinds that the operation names in `x-problems`, which is removed: the answers say it to clients.
fn own_problems(operation: &mut Operation) -> Vec<&'static Kind> {
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

fn has_scopes(operation: &Operation) -> bool {
    let requirements = json!(operation.security);
    let schemes = requirements.as_array().into_iter().flatten();
    schemes
        .filter_map(|requirement| requirement["bearer"].as_array())
        .any(|scopes| !scopes.is_empty())
}

fn has_etag(operation: &Operation) -> bool {
    matches!(
        operation.responses.responses.get("200"),
        Some(RefOr::T(response)) if response.headers.contains_key("ETag")
    )
}

fn add_parameter(operation: &mut Operation, parameter: Parameter) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::T(parameter));
}

fn id() -> Parameter {
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(shape::id()))
        .build()
}

/// Of a POST that says everything with its path.
fn nothing() -> RefOr<RequestBody> {
    let nothing = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let content = ContentBuilder::new().schema(Some(nothing)).build();
    let body = RequestBodyBuilder::new()
        .description(Some("Nothing, or an empty object."))
        .content("application/json", content);
    RefOr::T(body.build())
}

fn header(name: &str, required: Required, description: &str, pattern: &str, example: &str) -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(description))
        .schema(Some(text))
        .example(Some(json!(example)))
        .build()
}

fn idempotency_key() -> Parameter {
    header(
        "Idempotency-Key",
        Required::True,
        "New for each operation, the same when it is repeated.",
        "^[!-~]{1,64}$",
        "0198c5b7-6f00-7c3e-8f5b-1f3c7a9d2e10",
    )
}

/// Tags without a comma or a space inside, which is what the API makes.
const TAG: &str = r#"(W/)?"[!#-+\--~]*""#;

fn if_match() -> Parameter {
    header(
        "If-Match",
        Required::True,
        "The ETag of the version that is to be changed, or `*` for whichever it is.",
        &format!("^(\\*|{TAG}(, {TAG})*)$"),
        "\"1-1\"",
    )
}

fn if_none_match() -> Parameter {
    // What is no list of tags counts as absent, so that any text is right.
    header(
        "If-None-Match",
        Required::False,
        "ETags of what the client has; it is told 304 when one of them is current.",
        ".*",
        "\"1-1\"",
    )
}

fn not_modified() -> Response {
    ResponseBuilder::new()
        .description("The client has the current version.")
        .header("ETag", text_header("The version."))
        .build()
}

fn text_header(description: &str) -> utoipa::openapi::header::Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(description))
        .build()
}

/// The answer with one status, with an example of each kind of problem that has it.
fn answer(kinds: &[&Kind]) -> Response {
    let description = kinds.iter().map(|kind| format!("`{}`: {}", kind.slug, kind.when));
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for kind in kinds {
        let value = json!({
            "type": format!("urn:plumbline:problem:{}", kind.slug),
            "title": kind.title,
            "status": kind.status,
            "detail": kind.remedy,
            "request_id": "0198c5b7-6f00-7c3e-8f5b-1f3c7a9d2e10",
        });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::api;

    /// Method and path of every operation.
    fn described() -> BTreeSet<String> {
        let document = serde_json::to_value(document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes = api::resources().into_iter().flat_map(|(path, routes)| {
            routes
                .into_iter()
                .map(move |(method, _)| format!("{method} {path}"))
        });
        // The document and its pages are no part of the API.
        let routes: BTreeSet<String> = routes.filter(|route| route.contains(" /v1/")).collect();
        assert_eq!(described(), routes);
    }

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let mut text = document().to_pretty_json().unwrap();
        text.push('\n');
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return;
        }
        std::fs::write(&path, text).unwrap();
        panic!("docs/openapi.json was out of date and has been written anew: commit it");
    }
}
