//! The API's description (OpenAPI 3.1), for machines and for the pages in `docs.rs`.
//!
//! What is particular to an endpoint stands beside its handler: bodies, parameters, rights, and in `x-problems` the kinds of problems that
//! only it has. What follows from the shape of an operation is added here: a POST takes an idempotency key, a path with an id has a
//! 404, every request can be too many. `docs/openapi.json` is this document; a test writes it.

mod answers;
#[cfg(test)]
mod examples;
mod requests;

use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use self::answers::{ALWAYS, Answers, BODY, PRECONDITION, REPEATED, not_modified, own_problems};
use self::requests::{add_parameter, id, idempotency_key, if_match, if_none_match, nothing};
use crate::api::{customers, orders, products};
use crate::problems;
use crate::shape;

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
    /// The scope that the token lacks.
    #[schema(schema_with = shape::scope)]
    scope: Option<String>,
    /// The version that the resource has now.
    #[schema(schema_with = shape::etag)]
    current_etag: Option<String>,
    /// Of which product there is too little.
    #[schema(schema_with = shape::id)]
    product_id: Option<String>,
    /// How many of it there are.
    #[schema(schema_with = shape::in_stock)]
    available: Option<i64>,
    /// The state of the order, in which it can't be done.
    #[schema(schema_with = shape::order_status)]
    order_status: Option<String>,
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
    answers.give(operation, &kinds);
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
