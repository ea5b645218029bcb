use crate::client::{Connection, bearer, request, send};
use crate::keys::{expired_token, token};
use crate::process::Gateway;
use crate::upstream::Echo;

/// A row's raw request, the status that it gets, and the end of the problem's type.
type Row = (String, u16, &'static str);

/// Sends each row on a connection of its own, to a gateway before an upstream that must see nothing.
fn check(rows: &[Row]) {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    for (raw, status, problem) in rows {
        let reply = send(gateway.address, raw);
        assert_eq!(
            (reply.status, reply.problem().as_str()),
            (*status, *problem),
            "{raw}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json"),
            "{raw}"
        );
        let body = reply.json();
        assert_eq!(body["status"], *status, "{raw}");
        assert_eq!(body["request_id"].as_str(), reply.header("x-request-id"), "{raw}");
        // What was wrong, and what to do.
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("; ")),
            "{body}"
        );
        let line = gateway.access_line(body["request_id"].as_str().unwrap());
        assert_eq!(line["status"], *status, "{raw}");
        assert!(line["refused"].is_string(), "{line}");
    }
    assert_eq!(echo.seen().len(), 0);
}

fn raw(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// A good request but for its target.
fn target(target: &str) -> String {
    request("GET", target, &[], "")
}

/// A good request but for these header lines.
fn header(lines: &[&str]) -> String {
    request("GET", "/v1/things", lines, "")
}

#[test]
fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let bad = "malformed-request";
    let get = |rest: &str| raw(&format!("GET /v1/things HTTP/1.1\n{rest}\n"));
    check(&[
        (
            raw("GET /v1/things HTTP/1.0\nHost: a\n\n"),
            505,
            "http-version-not-supported",
        ),
        (raw("CONNECT a:1 HTTP/1.1\nHost: a:1\n\n"), 400, bad),
        (raw("OPTIONS * HTTP/1.1\nHost: a\n\n"), 400, bad),
        (raw("GET http://a/v1/things HTTP/1.1\nHost: a\n\n"), 400, bad),
        (get(""), 400, bad),
        (get("Host:\n"), 400, bad),
        (get("Host: a\nHost: a\n"), 400, bad),
        (get("Host: a\nHost: b\n"), 400, bad),
        (get("Host: a@b\n"), 400, bad),
        (get("Host: a/b\n"), 400, bad),
        (get("Host: a b\n"), 400, bad),
        (target("/v1//things"), 400, bad),
        (target("/v1/things/"), 400, bad),
        (target("/v1/x/../things"), 400, bad),
        (target("/v1/./things"), 400, bad),
        (target("/v1/%74hings"), 400, bad),
        (target("/v1/things%2F7"), 400, bad),
        (target("/v1/things%2f7"), 400, bad),
        (target("/v1/things/%00"), 400, bad),
        (target("/v1/things/%25"), 400, bad),
        (target("/v1/things;a=b"), 400, bad),
        (target("/v1/things/caf%e9"), 400, bad),
        (target("/v1/things?a=%"), 400, bad),
        (target("/v1/things?a={}"), 400, bad),
        (header(&["Upgrade: websocket", "Connection: upgrade"]), 400, bad),
        (header(&["Upgrade: h2c"]), 400, bad),
        (header(&["Connection: close, X-Plumbline-Identity"]), 400, bad),
        (header(&["Connection: host"]), 400, bad),
        (header(&["Content-Type: a/b", "Content-Type: a/b"]), 400, bad),
        (
            header(&["Authorization: Bearer a", "Authorization: Bearer b"]),
            400,
            bad,
        ),
        (header(&["If-Match: \"1\"", "If-Match: \"2\""]), 400, bad),
        (header(&["Idempotency-Key: 1", "Idempotency-Key: 2"]), 400, bad),
        (
            header(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
            400,
            bad,
        ),
        (
            header(&["Transfer-Encoding: gzip, chunked"]),
            400,
            "transfer-coding-unsupported",
        ),
        (
            header(&["Transfer-Encoding: chunked, chunked"]),
            400,
            "transfer-coding-unsupported",
        ),
        (
            header(&["Content-Encoding: gzip"]),
            415,
            "content-coding-unsupported",
        ),
        (
            header(&["Content-Encoding: identity"]),
            415,
            "content-coding-unsupported",
        ),
        (header(&["Expect: 200-ok"]), 417, "expectation-failed"),
    ]);
}

#[test]
fn what_does_not_exist_or_is_not_allowed_is_refused() {
    let with = |token: &str, method: &str, target: &str| request(method, target, &[&bearer(token)], "");
    let poor = token("ada", "things:read");
    check(&[
        (target("/"), 404, "not-found"),
        (target("/healthz"), 404, "not-found"),
        (target("/v1/thing"), 404, "not-found"),
        (target("/v1/things/7/parts"), 404, "not-found"),
        (target("/V1/things"), 404, "not-found"),
        (
            request("DELETE", "/v1/things", &[], ""),
            405,
            "method-not-allowed",
        ),
        (
            request("OPTIONS", "/v1/things", &[], ""),
            405,
            "method-not-allowed",
        ),
        (request("BREW", "/v1/thing", &[], ""), 404, "not-found"),
        (target("/v1/things/7"), 401, "unauthenticated"),
        (with("garbage", "GET", "/v1/things/7"), 401, "unauthenticated"),
        (with("garbage", "GET", "/v1/things"), 401, "unauthenticated"),
        (
            with(&expired_token("ada"), "GET", "/v1/things/7"),
            401,
            "unauthenticated",
        ),
        (header(&["Authorization: Basic YTpi"]), 401, "unauthenticated"),
        (header(&["Authorization: Bearer"]), 401, "unauthenticated"),
        (with(&poor, "POST", "/v1/things"), 403, "insufficient-scope"),
    ]);
}

/// Whatever stands in the request line: the client is at fault and not the server, so it is no 501.
#[test]
fn a_method_that_the_path_does_not_have_is_a_405_that_lists_those_that_it_has() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    for method in ["DELETE", "OPTIONS", "TRACE", "QUERY", "BREW", "get", "Post"] {
        let reply = send(gateway.address, request(method, "/v1/things", &[], ""));
        assert_eq!(
            (reply.status, reply.problem().as_str(), reply.header("allow")),
            (405, "method-not-allowed", Some("GET, HEAD, POST")),
            "{method}"
        );
        assert_eq!(reply.json()["title"], "the method is not allowed here");
    }
    assert_eq!(echo.seen().len(), 0);
}

#[test]
fn a_refusal_says_what_would_be_accepted() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let poor = bearer(&token("ada", ""));
    let rows = [
        (
            request("DELETE", "/v1/things", &[], ""),
            "allow",
            "GET, HEAD, POST",
        ),
        (target("/v1/things/7"), "www-authenticate", "Bearer"),
        (
            header(&["Authorization: Bearer x"]),
            "www-authenticate",
            r#"Bearer error="invalid_token""#,
        ),
        (
            request("POST", "/v1/things", &[&poor], ""),
            "www-authenticate",
            r#"Bearer error="insufficient_scope", scope="things:write""#,
        ),
    ];
    for (raw, name, value) in rows {
        assert_eq!(send(gateway.address, &raw).header(name), Some(value), "{raw}");
    }
    let rejected = send(gateway.address, header(&["Authorization: Bearer x"]));
    assert_eq!(
        rejected.json()["detail"],
        "the token is not valid; send a valid bearer token",
        "why is nobody's business"
    );
}

/// The parser's own refusals have no problem body. What matters is that nothing reaches the upstream, and that nothing
/// that follows on the connection is answered.
#[test]
fn a_head_that_cannot_be_parsed_ends_the_connection() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let follower = target("/v1/things");
    let rows = [
        (
            raw("GET /v1/things HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\nab"),
            400,
        ),
        (
            raw("GET /v1/things HTTP/1.1\nHost: a\nContent-Length: +1\n\na"),
            400,
        ),
        (
            raw("GET /v1/things HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, gzip\n\n"),
            400,
        ),
        (raw("GET /v1/things HTTP/1.1\nHost : a\n\n"), 400),
        (raw("GET /v1/things HTTP/1.1\nHost: a\n folded: b\n\n"), 400),
        (raw("GET /v1/things HTTP/2.0\nHost: a\n\n"), 400),
        (raw("GET  /v1/things HTTP/1.1\nHost: a\n\n"), 400),
        (raw("G@T /v1/things HTTP/1.1\nHost: a\n\n"), 400),
        (
            request("GET", "/v1/things", &[&format!("X: {}", "x".repeat(20_000))], ""),
            431,
        ),
        (request("GET", "/v1/things", &["X: x"; 70], ""), 431),
    ];
    for (raw, status) in rows {
        let mut connection = Connection::open(gateway.address);
        let text = {
            connection.send(format!("{raw}{follower}"));
            connection.rest()
        };
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{raw}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{raw}: {text}");
    }
    assert_eq!(echo.seen().len(), 0);
}

#[test]
fn a_length_beside_chunked_reaches_nobody_and_ends_the_connection() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let token = bearer(&token("ada", "things:write"));
    let hidden = request("GET", "/v1/things?smuggled", &[], "");
    for lines in [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
    ] {
        let head = request("POST", "/v1/things", &[&token, lines[0], lines[1]], "");
        let mut connection = Connection::open(gateway.address);
        connection.send(format!("{head}3\r\nabc\r\n0\r\n\r\n{hidden}"));
        let text = connection.rest();
        assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
    }
    for seen in echo.seen() {
        assert_eq!(
            (&seen["body"], &seen["target"]),
            (&"abc".into(), &"/v1/things".into()),
            "{seen}"
        );
    }
}
