use crate::client::{Connection, bearer, request, send};
use crate::keys::token;
use crate::process::Gateway;
use crate::upstream::Echo;

fn head(lines: &[&str]) -> String {
    let token = bearer(&token("ada", "things:write"));
    request("POST", "/v1/things", &[&[token.as_str()], lines].concat(), "")
}

#[test]
fn a_body_reaches_app_service_whole_and_with_its_length() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let rows = [
        (head(&["Content-Length: 0"]), "".to_owned()),
        (head(&[]), "".to_owned()),
        (
            head(&["Content-Length: 1024"]) + &"x".repeat(1024),
            "x".repeat(1024),
        ),
        (
            head(&["Transfer-Encoding: chunked"]) + "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
            "abcde".to_owned(),
        ),
    ];
    for (raw, body) in rows {
        let reply = send(gateway.address, &raw);
        assert_eq!(
            (reply.status, &reply.json()["body"]),
            (200, &body.as_str().into()),
            "{raw}"
        );
        let seen = reply.json()["headers"].to_string();
        assert!(
            seen.contains(&format!(r#"["content-length","{}"]"#, body.len())),
            "{seen}"
        );
        assert!(
            !seen.contains("transfer-encoding") && !seen.contains("trailer"),
            "{seen}"
        );
    }
}

#[test]
fn a_body_over_the_route_s_limit_is_refused() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let rows = [
        // By its announcement alone: nothing of it is sent.
        head(&["Content-Length: 1025"]),
        head(&["Transfer-Encoding: chunked"]) + &chunk + "1\r\nx\r\n0\r\n\r\n",
        // A route without a limit of its own takes no body.
        request("GET", "/v1/things", &[], "x"),
    ];
    for raw in rows {
        let mut connection = Connection::open(gateway.address);
        let reply = connection.exchange(&raw);
        assert_eq!(
            (reply.status, reply.problem()),
            (413, "body-too-large".to_owned()),
            "{raw}"
        );
        assert!(connection.is_closed());
    }
    assert_eq!(echo.seen().len(), 0);
}

#[test]
fn a_body_is_asked_for_only_once_the_caller_is_permitted() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let expecting = ["Expect: 100-continue", "Content-Length: 3"];

    let mut stranger = Connection::open(gateway.address);
    let reply = stranger.exchange(request("POST", "/v1/things", &expecting, ""));
    assert_eq!(reply.status, 401);

    let mut ada = Connection::open(gateway.address);
    assert_eq!(ada.exchange(head(&expecting)).status, 100);
    let reply = ada.exchange("abc");
    assert_eq!((reply.status, &reply.json()["body"]), (200, &"abc".into()));
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let mut connection = Connection::open(gateway.address);
    let reply = connection.exchange(head(&["Content-Length: 10"]) + "half");
    assert_eq!((reply.status, reply.problem()), (408, "body-too-slow".to_owned()));
    assert!(connection.is_closed());
    assert_eq!(echo.seen().len(), 0);
}

#[test]
fn a_chunk_that_is_none_is_refused() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
    ] {
        let reply = send(gateway.address, head(&["Transfer-Encoding: chunked"]) + body);
        assert_eq!(
            (reply.status, reply.problem()),
            (400, "malformed-request".to_owned()),
            "{body}"
        );
    }
    assert_eq!(echo.seen().len(), 0);
}
