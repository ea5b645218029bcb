//! What operations take besides what their handlers say: an id, headers, and an empty body.

use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required};

use crate::shape;

pub(super) fn add_parameter(operation: &mut Operation, parameter: Parameter) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::T(parameter));
}

/// Of a POST that says everything with its path.
pub(super) fn nothing() -> RefOr<RequestBody> {
    let nothing = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let content = ContentBuilder::new()
        .schema(Some(nothing))
        .example(Some(json!({})))
        .build();
    let body = RequestBodyBuilder::new()
        .description(Some("Nothing, or an empty object."))
        .content("application/json", content);
    RefOr::T(body.build())
}

pub(super) fn id() -> Parameter {
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(shape::id()))
        .example(Some(json!("0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a")))
        .build()
}

pub(super) fn idempotency_key() -> Parameter {
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

pub(super) fn if_match() -> Parameter {
    header(
        "If-Match",
        Required::True,
        "The ETag of the version that is to be changed, or `*` for whichever it is.",
        &format!("^(\\*|{TAG}(, {TAG})*)$"),
        "\"1-1\"",
    )
}

pub(super) fn if_none_match() -> Parameter {
    // What is no list of tags counts as absent, so that any text is right.
    header(
        "If-None-Match",
        Required::False,
        "ETags of what the client has; it is told 304 when one of them is current.",
        ".*",
        "\"1-1\"",
    )
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
