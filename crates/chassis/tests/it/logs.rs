use std::collections::BTreeSet;

use crate::child::{Child, command, get, request, run};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn a_line_within_a_request_has_the_ids_and_nothing_else() {
    let child = Child::serve();
    let id = "0198a5d2-0000-7000-8000-000000000000";
    let headers = [
        ("traceparent", &*format!("00-{TRACE}-b7ad6b7169203331-01")),
        ("authorization", "Bearer secret"),
        ("x-forwarded-for", "203.0.113.7"),
    ];
    let answer = request(
        child.http,
        "GET",
        &format!("/items/{id}?email=a@example.org"),
        &headers,
        "",
    );
    let line = child.line("item read");

    assert_eq!(line["trace_id"], TRACE);
    assert_eq!(line["request_id"], answer.headers["x-request-id"]);
    assert_eq!(line["service.name"], "minimal");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["item_id"], id);
    let names: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "timestamp",
        "level",
        "target",
        "message",
        "service.name",
        "service.version",
        "trace_id",
        "span_id",
        "request_id",
        "item_id",
    ];
    assert_eq!(names, BTreeSet::from(expected));
}

#[test]
fn a_line_outside_a_request_has_no_ids() {
    let child = Child::serve();
    let line = child.line("readiness changed");
    for name in ["trace_id", "span_id", "request_id"] {
        assert!(line.get(name).is_none(), "{line}");
    }
}

#[test]
fn a_stricter_log_level_keeps_request_ids_and_traces() {
    let child = Child::serve_with(
        &[],
        &[("RUST_LOG", "warn,chassis::http=info,chassis::admin=info")],
    );
    let answer = get(child.http, "/broken");
    let line = child.line("request failed");
    assert_eq!(line["request_id"], answer.headers["x-request-id"]);
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
}

#[test]
fn pretty_lines_are_text() {
    let output = run(command(&["end", "well"]).env("LOG_FORMAT", "pretty"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("stopped") && !text.contains("{\""), "{text}");
}
