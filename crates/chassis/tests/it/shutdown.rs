use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::child::{Child, get, receive, send, send_on};

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

/// Clients that keep their connections and send all the time: each is told to go by an answer, never by a closed connection.
#[test]
fn no_request_under_load_is_left_without_an_answer() {
    let mut child = Child::serve_with(&[], &[("DRAIN_DELAY", "1s")]);
    let (http, answered) = (child.http, Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let answered = answered.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(http).unwrap();
                loop {
                    send_on(&mut stream, "GET", "/trace", &[], "");
                    let answer = receive(&mut stream);
                    assert_eq!(answer.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.headers.contains_key("connection") {
                        return;
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 200 {
        std::thread::yield_now();
    }
    child.signal(Signal::TERM);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(child.wait().code(), Some(0));
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

#[test]
fn a_process_that_still_waits_for_a_dependency_ends_when_it_is_told_to() {
    let mut child = Child::start(&["--lonely"], &[("DRAIN_DELAY", "10m")]);
    child.line("waiting for the dependency");
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(0));
}
