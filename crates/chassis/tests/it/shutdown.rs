use std::io::Read as _;

use rustix::process::Signal;

use crate::child::{Child, get, receive, send};

#[test]
fn a_lame_duck_is_unready_and_still_serves_and_says_goodbye() {
    let child = Child::serve_with(&[], &[("DRAIN_DELAY", "10m")]);
    assert!(!get(child.http, "/trace").headers.contains_key("connection"));
    child.signal(Signal::TERM);
    child.line("shutting down: no longer ready, still serving");

    let ready = get(child.admin, "/readyz");
    assert_eq!((ready.status, &ready.json()["draining"]), (503, &true.into()));
    assert_eq!(get(child.admin, "/livez").status, 200);

    let mut stream = send(child.http, "GET", "/trace", &[], "");
    let answer = receive(&mut stream);
    assert_eq!(
        (answer.status, answer.headers["connection"].as_str()),
        (200, "close")
    );
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection is closed");
}

#[test]
fn a_request_in_flight_is_answered_before_the_process_ends() {
    let mut child = Child::serve_with(&[], &[("DRAIN_DELAY", "0s")]);
    let mut stream = send(child.http, "GET", "/slow", &[], "");
    child.line("slow request began");
    child.signal(Signal::TERM);
    assert_eq!(receive(&mut stream).body, "done");
    assert_eq!(child.wait().code(), Some(0));
    child.line("stopped");
}

#[test]
fn an_idle_connection_does_not_delay_the_end() {
    let mut child = Child::serve_with(&[], &[("DRAIN_DELAY", "0s"), ("SHUTDOWN_GRACE_SECONDS", "600")]);
    let mut stream = send(child.http, "GET", "/trace", &[], "");
    receive(&mut stream);
    child.signal(Signal::INT);
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut child = Child::serve_with(&[], &[("DRAIN_DELAY", "10m")]);
    child.signal(Signal::TERM);
    child.line("shutting down: no longer ready, still serving");
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(1));
}
