use serde_json::{Value, json};

use crate::child::{Answer, Child, get, request};

const ID: &str = "0198a5d2-0000-7000-8000-000000000000";

fn check_problem(answer: &Answer, expected: Value) {
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let mut body = answer.json();
    assert_eq!(answer.status, body["status"]);
    let request_id = body.as_object_mut().unwrap().remove("request_id").unwrap();
    assert_eq!(request_id, json!(answer.headers["x-request-id"]));
    assert_eq!(body, expected);
}

#[test]
fn what_no_handler_takes_is_answered_with_a_problem() {
    let child = Child::serve();
    check_problem(
        &get(child.http, "/nothing"),
        json!({"type": "urn:plumbline:problem:not-found", "title": "Not Found", "status": 404}),
    );
    let answer = request(child.http, "DELETE", "/items", &[], "");
    assert_eq!(answer.headers["allow"], "POST");
    check_problem(
        &answer,
        json!({"type": "urn:plumbline:problem:method-not-allowed", "title": "Method Not Allowed", "status": 405}),
    );
}

#[test]
fn what_a_handler_cannot_read_is_answered_with_a_problem() {
    let child = Child::serve_with(&["--http-max-body-bytes", "100"], &[]);
    let post = |content_type, body: &str| {
        request(
            child.http,
            "POST",
            "/items",
            &[("content-type", content_type)],
            body,
        )
    };
    let check = |answer: Answer, status, slug: &str| {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["type"], format!("urn:plumbline:problem:{slug}"));
    };
    check(post("application/json", "{}"), 400, "invalid-body");
    check(post("text/plain", "{}"), 415, "unsupported-media-type");
    check(
        post(
            "application/json",
            &format!(r#"{{"name":"{}"}}"#, "x".repeat(100)),
        ),
        413,
        "body-too-large",
    );
    check(get(child.http, "/items/1"), 400, "invalid-path");
    assert_eq!(post("application/json", r#"{"name":"a"}"#).body, "a");
}

#[test]
fn a_cause_is_logged_once_and_not_sent() {
    let child = Child::serve();
    let answer = get(child.http, "/broken");
    check_problem(
        &answer,
        json!({"type": "urn:plumbline:problem:internal", "title": "internal error", "status": 500}),
    );
    let line = child.line("request failed");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["route"], "/broken");
    assert!(line["error"].as_str().unwrap().contains("the secret cause"));
    assert_eq!(line["request_id"], answer.headers["x-request-id"]);
}

#[test]
fn a_problem_keeps_its_extensions() {
    let child = Child::serve();
    check_problem(
        &get(child.http, "/busy"),
        json!({"type": "urn:plumbline:problem:overloaded", "title": "too busy", "status": 503, "retry_after_seconds": 1}),
    );
    assert_eq!(child.line("request failed")["level"], "WARN");
}

#[test]
fn only_behind_the_gateway_is_a_caller_s_request_id_kept() {
    let edge = Child::serve();
    let sent = [("x-request-id", ID)];
    assert_ne!(
        request(edge.http, "GET", "/trace", &sent, "").headers["x-request-id"],
        ID
    );

    let inside = Child::serve_with(&["--behind-gateway"], &[]);
    assert_eq!(
        request(inside.http, "GET", "/trace", &sent, "").headers["x-request-id"],
        ID
    );
    let forged = [("x-request-id", "not a UUID")];
    let made = &request(inside.http, "GET", "/trace", &forged, "").headers["x-request-id"];
    assert_eq!(made.len(), 36, "{made}");
}
