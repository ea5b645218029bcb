use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{Caller, Verifier};
use serde_json::{Value, json};

use crate::client::{bearer, request, send};
use crate::keys::{GATEWAY, expired_token, token};
use crate::process::Gateway;
use crate::upstream::Echo;

/// The headers that reached the upstream, by name.
fn headers(seen: &Value) -> BTreeMap<String, String> {
    let lines: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
    let count = lines.len();
    let headers: BTreeMap<_, _> = lines.into_iter().collect();
    assert_eq!(
        headers.len(),
        count,
        "each header reaches the upstream once: {seen}"
    );
    headers
}

/// Whom the assertion that reached the upstream names.
fn asserted(seen: &Value) -> Arc<Caller> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), GATEWAY.set()).unwrap();
    let verifier = Verifier::assertions(file.path()).unwrap();
    verifier.verify(&headers(seen)["x-plumbline-identity"]).unwrap()
}

#[test]
fn a_request_reaches_app_service_rebuilt() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let token = token("ada", "things:write other:read");
    let reply = send(
        gateway.address,
        request(
            "POST",
            "/v1/things?after=a%2fb&limit=2",
            &[
                &bearer(&token),
                "Content-Type: application/json",
                "Idempotency-Key: k-1",
            ],
            r#"{"name":"a thing"}"#,
        ),
    );
    assert_eq!(reply.status, 200);
    let seen = reply.json();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["target"], "/v1/things?after=a%2fb&limit=2");
    assert_eq!(seen["body"], r#"{"name":"a thing"}"#);

    let headers = headers(&seen);
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    let expected = [
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "traceparent",
        "x-plumbline-identity",
        "x-request-deadline-ms",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert_eq!(headers["host"], echo.address.to_string());
    assert_eq!(headers["content-length"], "18");
    let left: u64 = headers["x-request-deadline-ms"].parse().unwrap();
    assert!((1..5000).contains(&left), "{left}");
    assert_eq!(
        reply.header("x-request-id"),
        Some(headers["x-request-id"].as_str())
    );

    let caller = asserted(&seen);
    assert_eq!(caller.principal, "main:ada");
    assert_eq!(caller.scopes, ["things:write", "other:read"]);
    assert_eq!(caller.email.as_deref(), Some("ada@example.com"));
}

#[test]
fn nothing_that_a_client_says_about_identity_or_tracing_passes() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let reply = send(
        gateway.address,
        request(
            "GET",
            "/v1/things",
            &[
                "X-Plumbline-Identity: forged",
                "X-Request-Id: 00000000-0000-0000-0000-000000000000",
                "X-Request-Deadline-Ms: 9999999",
                "Traceparent: 00-11111111111111111111111111111111-2222222222222222-01",
                "Tracestate: a=b",
                "Baggage: a=b",
                "X-Forwarded-For: 192.0.2.1",
                "Forwarded: for=192.0.2.1",
                "X-Forwarded-Host: other.example",
                "Cookie: session=1",
                "Proxy-Authorization: Basic YTpi",
                "Te: trailers",
                "Range: bytes=0-1",
                "X-Anything: else",
                "Accept: application/json",
                "Accept-Language: de",
                "If-None-Match: \"7\"",
                &format!("User-Agent: {}", "u".repeat(300)),
            ],
            "",
        ),
    );
    let seen = reply.json();
    let headers = headers(&seen);
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    let expected = [
        "accept",
        "accept-language",
        "host",
        "if-none-match",
        "traceparent",
        "user-agent",
        "x-plumbline-identity",
        "x-request-deadline-ms",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert!(asserted(&seen).is_anonymous());
    assert!(!headers["traceparent"].contains("11111111"));
    assert!(headers["x-request-deadline-ms"].len() <= 4);
    assert_eq!(headers["user-agent"].len(), 256);
    let id = &headers["x-request-id"];
    assert_eq!((id.len(), &id[14..15]), (36, "7"), "a UUIDv7: {id}");
}

#[test]
fn nothing_reaches_a_client_but_what_is_meant_for_it() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let reply = send(gateway.address, request("GET", "/v1/things?status=404", &[], ""));
    assert_eq!(reply.status, 404, "app-service's own answers pass");
    assert_eq!(reply.json()["method"], "GET");
    let mut names = reply.header_names();
    names.sort_unstable();
    let expected = [
        "cache-status",
        "content-length",
        "content-type",
        "date",
        "etag",
        "vary",
        "vary",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert_ne!(reply.header("x-request-id"), Some("theirs"));
}

#[test]
fn a_token_on_an_anonymous_route_is_verified_and_passed_on() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let with = |token: &str| {
        send(
            gateway.address,
            request("GET", "/v1/things", &[&bearer(token)], ""),
        )
    };
    assert_eq!(asserted(&with(&token("ada", "")).json()).principal, "main:ada");
    let reply = with(&expired_token("ada"));
    assert_eq!(
        (reply.status, reply.problem()),
        (401, "unauthenticated".to_owned())
    );
    assert_eq!(echo.seen().len(), 1);
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let mut connection = crate::client::Connection::open(gateway.address);
    connection.send(request("HEAD", "/v1/things", &["Connection: close"], ""));
    let text = connection.rest();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert!(length.parse::<usize>().unwrap() > 0);
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn a_request_is_logged_and_counted_without_its_caller() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let token = token("ada", "things:write");
    let reply = send(
        gateway.address,
        request("GET", "/v1/things/7", &[&bearer(&token)], ""),
    );
    let traceparent = headers(&reply.json())["traceparent"].clone();
    let line = gateway.access_line(reply.header("x-request-id").unwrap());
    assert_eq!(line["level"], "INFO");
    assert_eq!(
        (&line["method"], &line["route"], &line["status"]),
        (&json!("GET"), &json!("things.get"), &json!(200))
    );
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(traceparent.split('-').nth(1), line["trace_id"].as_str());

    let reply = send(gateway.address, request("BREW", "/v1/things/7", &[], ""));
    // An answer can arrive before it is counted; what is logged has been.
    gateway.access_line(reply.header("x-request-id").unwrap());
    let metrics = send(gateway.admin, request("GET", "/metrics", &[], ""));
    let metrics = String::from_utf8(metrics.body).unwrap();
    for (name, labels) in [
        (
            "http_server_request_duration_seconds_count",
            r#"http_request_method="GET",http_route="/v1/things/{id}",http_response_status_code="200""#,
        ),
        (
            "http_server_request_duration_seconds_count",
            r#"http_request_method="_OTHER",http_route="unmatched",http_response_status_code="405""#,
        ),
        (
            "http_client_request_duration_seconds_count",
            r#"peer_service="app-service",http_request_method="GET",http_response_status_code="200""#,
        ),
    ] {
        let line = format!("{name}{{{labels}}} 1");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    for line in gateway.log() {
        assert!(!line.to_string().contains("ada"), "{line}");
    }
}
