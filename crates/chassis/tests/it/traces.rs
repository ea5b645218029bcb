use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;

use crate::child::{Child, get, request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[test]
fn a_request_continues_its_caller_s_trace() {
    let child = Child::serve();
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let answer = request(child.http, "GET", "/trace", &[("traceparent", &parent)], "").body;
    let parts: Vec<&str> = answer.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"), "{answer}");
    assert_ne!(parts[2], CALLER, "it has a span of its own");
}

#[test]
fn an_unsampled_request_has_its_ids_and_no_span() {
    let parent = format!("00-{TRACE}-{CALLER}-00");
    let headers = [("traceparent", parent.as_str())];
    let child = Child::serve();
    assert_eq!(request(child.http, "GET", "/trace", &headers, "").body, parent);
    for (path, message) in [
        ("/items/0198a5d2-0000-7000-8000-000000000000", "item read"),
        ("/broken", "request failed"),
    ] {
        let answer = request(child.http, "GET", path, &headers, "");
        let line = child.line(message);
        assert_eq!(line["request_id"], answer.headers["x-request-id"], "{line}");
        assert_eq!(
            (&line["trace_id"], &line["span_id"]),
            (&TRACE.into(), &CALLER.into()),
            "{line}"
        );
    }
    // The next one on the same connection or thread has none of it.
    assert!(!get(child.http, "/trace").body.contains(TRACE));
}

#[test]
fn a_sampler_that_does_not_ask_the_caller_is_heard() {
    let child = Child::serve_with(&[], &[("OTEL_TRACES_SAMPLER", "always_on")]);
    let parent = format!("00-{TRACE}-{CALLER}-00");
    let answer = request(child.http, "GET", "/trace", &[("traceparent", &parent)], "").body;
    assert!(
        answer.starts_with(&format!("00-{TRACE}-")) && answer.ends_with("-01"),
        "{answer}"
    );
    assert!(!answer.contains(CALLER), "it has a span of its own");
}

#[test]
fn a_request_without_a_trace_begins_one_although_nothing_is_exported() {
    let child = Child::serve();
    let first = get(child.http, "/trace").body;
    assert_eq!(first.len(), 55, "{first}");
    assert_ne!(first, get(child.http, "/trace").body);
}

#[test]
fn the_spans_of_a_stopped_process_have_reached_the_collector() {
    let (endpoint, exports) = collector();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("DRAIN_DELAY", "0s"),
        ("RUST_LOG", "off,chassis=info"),
    ];
    let mut child = Child::serve_with(&[], &environment);
    get(child.http, "/items/0198a5d2-0000-7000-8000-000000000000");
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(0));

    let export = exports.recv_timeout(Duration::from_secs(30)).unwrap();
    let shows = |text: &str| export.windows(text.len()).any(|window| window == text.as_bytes());
    for text in [
        "service.name",
        "minimal",
        "GET /items/{id}",
        "http.response.status_code",
    ] {
        assert!(shows(text), "{text} is not in the export");
    }
    assert!(!shows("0198a5d2-0000"), "no path is exported");
}

#[test]
fn opentelemetry_s_own_variables_name_the_service_and_turn_tracing_off() {
    let export = |environment: (&str, &str)| {
        let (endpoint, exports) = collector();
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str());
        let mut child = Child::serve_with(&[], &[endpoint, ("DRAIN_DELAY", "0s"), environment]);
        let trace = get(child.http, "/trace").body;
        child.signal(Signal::TERM);
        assert_eq!(child.wait().code(), Some(0));
        (trace, exports)
    };
    let (_, named) = export(("OTEL_SERVICE_NAME", "corner-shop"));
    let named = named.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(named.windows(11).any(|window| window == b"corner-shop"));
    // Whoever ends has sent its last spans by then.
    let (trace, none) = export(("OTEL_SDK_DISABLED", "true"));
    assert!(none.try_recv().is_err());
    assert_eq!(trace.len(), 0, "{trace}");
}

#[test]
fn without_spans_a_caller_s_trace_is_passed_on() {
    let child = Child::serve_with(&[], &[("OTEL_SDK_DISABLED", "true")]);
    for flags in ["00", "01"] {
        let parent = format!("00-{TRACE}-{CALLER}-{flags}");
        let answer = request(child.http, "GET", "/trace", &[("traceparent", &parent)], "");
        assert_eq!(answer.body, parent);
    }
}

#[test]
fn a_collector_that_does_not_answer_does_not_keep_the_process_from_ending() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("DRAIN_DELAY", "0s"),
    ];
    let mut child = Child::serve_with(&[], &environment);
    get(child.http, "/trace");
    child.signal(Signal::TERM);
    child.line("the last spans were not exported");
    assert_eq!(child.wait().code(), Some(0));
}

/// Takes every export and answers 200; sends on the bodies.
fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, exports) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let body = receive_export(&mut stream.unwrap());
            if sender.send(body).is_err() {
                break;
            }
        }
    });
    (endpoint, exports)
}

fn receive_export(stream: &mut TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .unwrap();
    body
}
