//! The API's document against the gateway's routes, and against what the system does.

use std::collections::{BTreeMap, BTreeSet};

use lab::fuzz;
use serde::Deserialize;
use serde_json::Value;
use stack::find_root;

use crate::whole;

/// Who may call an operation: `None` is everybody, otherwise the scopes that the edge asks for.
type Rights = BTreeMap<String, Option<BTreeSet<String>>>;

fn read(path: &str) -> String {
    std::fs::read_to_string(find_root().unwrap().join(path)).unwrap()
}

/// By method and path, from the document.
fn described(document: &Value) -> Rights {
    let mut rights = Rights::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let requirements = operation["security"].as_array().unwrap();
            let anonymous = requirements
                .iter()
                .any(|requirement| requirement.as_object().unwrap().is_empty());
            let scopes = requirements
                .iter()
                .filter_map(|requirement| requirement["bearer"].as_array())
                .flatten()
                .map(|scope| scope.as_str().unwrap().to_owned());
            let who = (!anonymous).then(|| scopes.collect());
            rights.insert(format!("{} {path}", method.to_uppercase()), who);
        }
    }
    rights
}

/// By method and path, from the gateway's routes.
fn routed(routes: &str) -> Rights {
    #[derive(Deserialize)]
    struct File {
        route: Vec<Route>,
    }
    #[derive(Deserialize)]
    struct Route {
        methods: Vec<String>,
        path: String,
        auth: toml::Value,
    }
    let file: File = toml::from_str(routes).unwrap();
    let mut rights = Rights::new();
    for route in file.route {
        let who = match &route.auth {
            toml::Value::String(anonymous) if anonymous == "anonymous" => None,
            auth => {
                let scopes = auth.get("scopes").and_then(toml::Value::as_array);
                let scopes = scopes.into_iter().flatten();
                Some(scopes.map(|scope| scope.as_str().unwrap().to_owned()).collect())
            }
        };
        for method in route.methods {
            rights.insert(format!("{method} {}", route.path), who.clone());
        }
    }
    rights
}

/// The document and its pages are no part of the API that it describes.
const ABOUT: [&str; 3] = ["GET /openapi.json", "GET /docs", "GET /docs/{file}"];

/// What one says and the other does not, or says otherwise.
fn differences(described: &Rights, mut routed: Rights) -> Vec<String> {
    let mut found = Vec::new();
    for about in ABOUT {
        if routed.remove(about) != Some(None) {
            found.push(format!("{about} is not open to everybody"));
        }
    }
    let operations: BTreeSet<&String> = described.keys().chain(routed.keys()).collect();
    for operation in operations {
        match (described.get(operation), routed.get(operation)) {
            (Some(_), None) => found.push(format!("{operation} has no route")),
            (None, Some(_)) => found.push(format!("{operation} is not described")),
            (one, other) if one != other => found.push(format!("{operation}: other scopes")),
            _ => {}
        }
    }
    found
}

#[test]
fn the_gateways_routes_are_the_documents_operations_with_the_same_rights() {
    let document = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let found = differences(&described(&document), routed(&read("deploy/gateway/routes.toml")));
    assert!(
        found.is_empty(),
        "docs/openapi.json and deploy/gateway/routes.toml differ: {found:#?}"
    );
}

#[test]
fn a_route_or_a_right_that_only_one_of_them_has_is_reported() {
    let document = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let routes = read("deploy/gateway/routes.toml");
    let check = |routes: &str, expected: &[&str]| {
        assert_eq!(differences(&described(&document), routed(routes)), expected);
    };
    check(
        &routes.replace("path = \"/v1/orders\"", "path = \"/v1/carts\""),
        &["POST /v1/carts is not described", "POST /v1/orders has no route"],
    );
    check(
        &routes.replace("scopes = [\"payments:record\"]", "scopes = []"),
        &["POST /v1/orders/{id}/payment: other scopes"],
    );
    check(
        &routes.replace("path = \"/openapi.json\"", "path = \"/swagger.json\""),
        &[
            "GET /openapi.json is not open to everybody",
            "GET /swagger.json is not described",
        ],
    );
}

/// A type of problem by its status, and its title.
type Kinds = BTreeMap<(String, u64), String>;

/// What each process answers with, from the page of problems, which tests of theirs write: app-service and the gateway.
fn listed(page: &str) -> (Kinds, Kinds) {
    let kinds = |section: &str| {
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let kind = |row: &str| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let slug = cells[1].trim_matches('`').to_owned();
            ((slug, cells[2].parse().unwrap()), cells[3].to_owned())
        };
        rows.map(kind).collect()
    };
    let (app_service, gateway) = page.split_once("## From the gateway").unwrap();
    (kinds(app_service), kinds(gateway))
}

/// What an operation answers with, from the document.
fn described_kinds(document: &Value, operation: &Value) -> Kinds {
    let mut kinds = Kinds::new();
    for answer in operation["responses"].as_object().unwrap().values() {
        let Some(reference) = answer["$ref"].as_str() else {
            continue;
        };
        let answer = document.pointer(reference.trim_start_matches('#')).unwrap();
        let examples = answer["content"]["application/problem+json"]["examples"].as_object();
        for (slug, example) in examples.unwrap() {
            let (status, title) = (&example["value"]["status"], &example["value"]["title"]);
            kinds.insert(
                (slug.clone(), status.as_u64().unwrap()),
                title.as_str().unwrap().to_owned(),
            );
        }
    }
    kinds
}

/// The gateway answers with these where there is no operation, or where one asks for scopes.
const NOT_OF_ALL: [&str; 3] = ["not-found", "method-not-allowed", "insufficient-scope"];

/// Where the document and the page of problems differ, or the two processes' parts of it.
fn differing_kinds(document: &Value, page: &str) -> Vec<String> {
    let (app_service, gateway) = listed(page);
    let mut found = Vec::new();
    for ((slug, _), title) in &gateway {
        let same = |((other, _), there): (&(String, u64), &String)| slug != other || title == there;
        if !app_service.iter().all(same) {
            found.push(format!("{slug} has two titles"));
        }
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let described = described_kinds(document, operation);
            for (kind, title) in &described {
                if app_service.get(kind).or(gateway.get(kind)) != Some(title) {
                    found.push(format!("{method} {path}: {kind:?} is not listed"));
                }
            }
            let of_all = gateway
                .keys()
                .filter(|(slug, _)| !NOT_OF_ALL.contains(&slug.as_str()));
            for kind in of_all.filter(|kind| !described.contains_key(kind)) {
                found.push(format!("{method} {path}: {kind:?} is not described"));
            }
        }
    }
    found
}

#[test]
fn the_document_and_the_two_processes_have_the_same_types_of_problems() {
    let document = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let found = differing_kinds(&document, &read("docs/problems.md"));
    assert!(
        found.is_empty(),
        "docs/openapi.json and docs/problems.md differ: {found:#?}"
    );
}

#[test]
fn a_type_of_problem_that_only_one_of_them_has_is_reported() {
    let document = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    let page = read("docs/problems.md");
    let check = |page: &str, expected: &str| {
        let found = differing_kinds(&document, page);
        assert!(
            found.iter().any(|fault| fault == expected),
            "{expected}: {found:#?}"
        );
    };
    check(
        &page.replace("| `rate-limited` | 429 |", "| `rate-limited` | 420 |"),
        "post /v1/orders: (\"rate-limited\", 420) is not described",
    );
    check(
        &page.replace("`not-sent`", "`unsent`"),
        "get /v1/products: (\"not-sent\", 502) is not listed",
    );
    check(
        &page.replacen("| not authenticated |", "| no token |", 1),
        "unauthenticated has two titles",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_with_all_its_checks() {
    let whole = whole::start("openapi", Vec::new()).await;
    let plan = fuzz::Plan { cases: 40, seed: 1 };
    let outcome = fuzz::run(&whole.stack, plan).await;
    let pages = pages(&whole).await;
    whole.down().await;
    if let Err(found) = outcome {
        panic!("{found:#}");
    }
    assert_eq!(pages, Vec::<String>::new());
}

/// What is wrong with the pages for people: everything that they load must be there, and from here.
async fn pages(whole: &whole::WholeStack) -> Vec<String> {
    let mut wrong = Vec::new();
    let get = async |path: &str| {
        let answer = whole
            .http
            .get(format!("{}{path}", whole.gateway()))
            .send()
            .await
            .unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    };
    let (status, headers, index) = get("/docs").await;
    if status != 200 || !headers.contains_key("content-security-policy") {
        wrong.push(format!("/docs: {status} {headers:?}"));
    }
    let links = index
        .split(['"', '\''])
        .filter(|text| text.ends_with(".js") || text.ends_with(".css"));
    for link in links {
        let path = format!("/docs/{}", link.trim_start_matches("./"));
        let (status, _, text) = get(&path).await;
        if status != 200 || text.is_empty() {
            wrong.push(format!("{path}: {status}"));
        }
    }
    let (_, _, initializer) = get("/docs/swagger-initializer.js").await;
    if !initializer.contains("/openapi.json") {
        wrong.push(format!("the pages show another document: {initializer}"));
    }
    wrong
}
