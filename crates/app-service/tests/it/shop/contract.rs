//! Each answer that a test gets, against what the API's description says of its operation.

use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::Reply;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../../docs/openapi.json")).unwrap());

/// Panics when the description does not have this answer of the operation: its status, and of a problem its type and title. What is no
/// operation has no description.
pub(super) fn check(method: &Method, path: &str, reply: &Reply) {
    let Some(operation) = operation(method, path) else {
        return;
    };
    if let Some(fault) = fault(operation, reply.status, &reply.body) {
        panic!("{method} {path}: {fault}; is it in `x-problems`? {reply:?}");
    }
}

/// What to do about a problem of app-service's, as its documentation has it: what the detail of each such problem ends with.
pub(crate) fn remedy(slug: &str) -> &'static str {
    const PAGE: &str = include_str!("../../../../../docs/problems.md");
    let begin = format!("| `{slug}` |");
    let row = PAGE.lines().find(|line| line.starts_with(&begin));
    let cells = row
        .unwrap_or_else(|| panic!("{slug} is not documented"))
        .trim_end_matches(" |");
    cells.rsplit(" | ").next().unwrap_or_default()
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let of_path = paths.iter().find(|(template, _)| matches(template, path));
    let (_, operations) = of_path?;
    operations.get(method.as_str().to_ascii_lowercase())
}

fn matches(template: &str, path: &str) -> bool {
    let same = |(part, segment): (&str, &str)| part == "{id}" || part == segment;
    template.split('/').count() == path.split('/').count()
        && template.split('/').zip(path.split('/')).all(same)
}

fn fault(operation: &Value, status: StatusCode, body: &Value) -> Option<String> {
    let Some(answer) = operation["responses"].get(status.as_str()) else {
        return Some(format!("no answer has the status {status}"));
    };
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let reference = answer["$ref"].as_str().unwrap();
    let answer = DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap();
    let kind = body["type"].as_str().unwrap_or_default();
    let slug = kind.trim_start_matches("urn:plumbline:problem:");
    let Some(example) = answer["content"]["application/problem+json"]["examples"].get(slug) else {
        return Some(format!("no answer with {status} has the type {slug:?}"));
    };
    (example["value"]["title"] != body["title"]).then(|| format!("{slug} has another title"))
}

#[test]
fn an_answer_that_is_not_described_is_reported() {
    let operation = operation(&Method::POST, "/v1/orders/x/payment").unwrap();
    let check = |status: u16, slug: &str, title: &str, expected: Option<&str>| {
        let body = serde_json::json!({"type": format!("urn:plumbline:problem:{slug}"), "title": title});
        let found = fault(operation, StatusCode::from_u16(status).unwrap(), &body);
        assert_eq!(found.as_deref(), expected);
    };
    let title = "the order can't be paid in its state";
    check(200, "", "", None);
    check(409, "order-not-payable", title, None);
    check(
        409,
        "order-not-payable",
        "no",
        Some("order-not-payable has another title"),
    );
    let sku = "no answer with 409 Conflict has the type \"sku-taken\"";
    check(409, "sku-taken", "the sku is taken", Some(sku));
    check(201, "", "", Some("no answer has the status 201 Created"));
}
