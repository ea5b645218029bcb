use std::time::Duration;

use crate::client::{Connection, request, send};
use crate::process::{Gateway, ROUTES};
use crate::upstream::{Echo, nowhere, read_request, scripted, write};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn get() -> String {
    request("GET", "/v1/things", &[], "")
}

fn post() -> String {
    request("POST", "/v1/hurry", &[], "")
}

#[test]
fn without_app_service_the_answer_is_that_nothing_was_sent() {
    let gateway = Gateway::before(&[nowhere()]);
    for raw in [get(), post()] {
        let reply = send(gateway.address, raw);
        assert_eq!((reply.status, reply.problem()), (502, "not-sent".to_owned()));
        assert_eq!(
            reply.json()["detail"],
            "try again",
            "addresses are nobody's business"
        );
    }
}

#[test]
fn an_endpoint_that_is_down_is_passed_over() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[nowhere(), echo.address, nowhere()]);
    for _ in 0..12 {
        assert_eq!(send(gateway.address, get()).status, 200);
        assert_eq!(send(gateway.address, post()).status, 200);
    }
    assert_eq!(echo.seen().len(), 24);
}

#[test]
fn all_endpoints_get_requests() {
    let echoes = [Echo::start(), Echo::start()];
    let gateway = Gateway::start(
        ROUTES,
        &[echoes[0].address, echoes[1].address],
        &[("HTTP_WORKERS", "1")],
    );
    for _ in 0..10 {
        assert_eq!(send(gateway.address, get()).status, 200);
    }
    assert_eq!(echoes.map(|echo| echo.seen().len()), [5, 5]);
}

/// It still accepts, and would answer; but when it stops accepting, a request that is on its way to it is lost.
#[test]
fn a_replica_that_says_that_it_is_going_gets_nothing_more() {
    let (going, closed) = scripted(|_, stream| {
        read_request(stream);
        write(
            stream,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        );
    });
    let staying = Echo::start();
    let gateway = Gateway::start(ROUTES, &[going, staying.address], &[("HTTP_WORKERS", "1")]);
    for _ in 0..10 {
        assert_eq!(send(gateway.address, post()).status, 200);
    }
    closed.recv().unwrap();
    assert_eq!(closed.try_iter().count(), 0, "further connections to it");
    assert_eq!(staying.seen().len(), 9);
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let (address, closed) = scripted(|_, stream| {
        let mut served = 0;
        while !read_request(stream).is_empty() {
            write(stream, OK);
            served += 1;
        }
        served
    });
    {
        let gateway = Gateway::start(ROUTES, &[address], &[("HTTP_WORKERS", "1")]);
        for _ in 0..20 {
            assert_eq!(send(gateway.address, get()).status, 200);
        }
    }
    assert_eq!(closed.recv().unwrap(), 20, "requests on the first connection");
}

/// The upstream closes each connection after one answer, without saying so. A request that meets the closed connection
/// was not sent, so it is sent on a fresh one, whatever its method.
#[test]
fn a_request_that_was_not_sent_is_sent_again() {
    let (address, closed) = scripted(|_, stream| {
        read_request(stream);
        write(stream, OK);
    });
    let gateway = Gateway::start(ROUTES, &[address], &[("HTTP_WORKERS", "1")]);
    let mut connection = Connection::open(gateway.address);
    for number in 0..100 {
        let reply = connection.exchange(post());
        assert_eq!(reply.status, 200, "request {number}: {reply:?}");
        closed.recv().unwrap();
    }
}

#[test]
fn what_may_have_been_processed_is_repeated_only_if_it_is_safe() {
    // Each connection takes a request and breaks, the third one answers.
    let script = |number: usize, stream: &mut std::net::TcpStream| {
        let request = read_request(stream);
        if number == 2 {
            write(stream, OK);
        }
        request
    };
    let (address, closed) = scripted(script);
    let gateway = Gateway::before(&[address]);
    let reply = send(gateway.address, post());
    assert_eq!(
        (reply.status, reply.problem()),
        (502, "outcome-unknown".to_owned())
    );
    assert!(closed.recv().unwrap().starts_with("POST "));

    let reply = send(gateway.address, get());
    assert_eq!(reply.status, 200);
    assert!(closed.recv().unwrap().starts_with("GET "));
    assert!(closed.recv().unwrap().starts_with("GET "));
}

#[test]
fn a_safe_request_is_repeated_once_and_no_more() {
    let (address, closed) = scripted(|_, stream| read_request(stream));
    let gateway = Gateway::before(&[address]);
    let reply = send(gateway.address, get());
    assert_eq!(
        (reply.status, reply.problem()),
        (502, "outcome-unknown".to_owned())
    );
    Connection::open(address).send(request("GET", "/after", &[], ""));
    let targets: Vec<String> = closed
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap_or_default().to_owned())
        .take_while(|target| target != "/after")
        .collect();
    assert_eq!(targets, ["/v1/things", "/v1/things"]);
}

#[test]
fn a_connection_that_is_not_used_is_closed() {
    let (address, closed) = scripted(|_, stream| {
        read_request(stream);
        write(stream, OK);
        read_request(stream)
    });
    let gateway = Gateway::before(&[address]);
    assert_eq!(send(gateway.address, get()).status, 200);
    assert_eq!(closed.recv_timeout(Duration::from_secs(30)).unwrap(), "");
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    for method in ["GET", "POST"] {
        let reply = send(
            gateway.address,
            request(method, "/v1/hurry?delay_ms=60000", &[], ""),
        );
        assert_eq!(
            (reply.status, reply.problem()),
            (504, "deadline-exceeded".to_owned())
        );
    }
    assert_eq!(
        echo.seen().len(),
        2,
        "a request that ran out of time is not repeated"
    );
}

#[test]
fn an_answer_that_breaks_off_does_not_end_as_if_it_were_complete() {
    let rows = [
        // The upstream closes too early.
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", false),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            false,
        ),
        // The upstream sends no more; the route's timeout ends it.
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            true,
        ),
    ];
    for (answer, hang) in rows {
        let (address, _closed) = scripted(move |_, stream| {
            read_request(stream);
            write(stream, answer);
            if hang {
                read_request(stream);
            }
        });
        let gateway = Gateway::before(&[address]);
        let reply = send(gateway.address, request("GET", "/v1/hurry", &[], ""));
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"half".as_slice()));
        assert!(!reply.complete, "{answer}");
    }
}

#[test]
fn a_request_too_many_in_flight_is_turned_away() {
    let echo = Echo::start();
    let gateway = Gateway::start(ROUTES, &[echo.address], &[("MAX_IN_FLIGHT", "1")]);
    let mut slow = Connection::open(gateway.address);
    slow.send(request("GET", "/v1/things?delay_ms=4000", &[], ""));
    crate::process::eventually("the slow request", || (echo.seen().len() == 1).then_some(()));
    let reply = send(gateway.address, get());
    assert_eq!((reply.status, reply.problem()), (503, "overloaded".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));

    assert_eq!(slow.reply().status, 200);
    crate::process::eventually("room again", || {
        (send(gateway.address, get()).status == 200).then_some(())
    });
}

#[test]
fn a_client_that_leaves_is_noted() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/v1/things?delay_ms=4000", &[], ""));
    crate::process::eventually("the request", || (echo.seen().len() == 1).then_some(()));
    drop(connection);
    crate::process::eventually("its line in the log", || {
        gateway
            .log()
            .into_iter()
            .find(|line| line["message"] == "request" && line["status"] == 499)
    });
}
