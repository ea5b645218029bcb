//! What stands where app-service would: one that echoes, and one that a test drives byte by byte.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// Answers each request with what it got: `{method, target, headers, body}`. The query steers it: `status=404`,
/// `delay_ms=500`.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Echo {
    pub(crate) fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(serve(listener, record));
        });
        Echo { address, seen }
    }

    /// All that reached it, in order.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Vec<Value>>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request| echo(request, Arc::clone(&seen)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn echo(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()]))
        .collect();
    let saw = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    seen.lock().unwrap().push(saw.clone());
    let told = |name: &str| {
        let pairs = head.uri.query().unwrap_or_default().split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    if let Some(delay) = told("delay_ms") {
        tokio::time::sleep(Duration::from_millis(delay.parse().unwrap())).await;
    }
    let response = Response::builder()
        .status(told("status").unwrap_or("200"))
        .header("content-type", "application/json")
        .header("etag", "\"7\"")
        .header("cache-status", "plumbline; hit")
        .header("vary", "accept")
        .header("vary", "accept-language")
        .header("set-cookie", "session=1")
        .header("server", "echo")
        .header("x-internal", "secret")
        .header("x-request-id", "theirs");
    Ok(response.body(Full::new(Bytes::from(saw.to_string()))).unwrap())
}

/// A listener whose connections are given to `script`, one after the other, numbered from 0. What the script returns
/// is sent back once the connection is closed.
pub(crate) fn scripted<T: Send + 'static>(
    script: impl Fn(usize, &mut TcpStream) -> T + Send + 'static,
) -> (SocketAddr, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (done, closed) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let result = script(number, &mut stream);
            drop(stream);
            if done.send(result).is_err() {
                return;
            }
        }
    });
    (address, closed)
}

/// Reads one request, head and body; empty when the connection ends first.
pub(crate) fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        text.extend_from_slice(&buffer[..read]);
        let head = String::from_utf8_lossy(&text).into_owned();
        let whole = head.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        });
        if whole || read == 0 {
            return head;
        }
    }
}

pub(crate) fn write(stream: &mut TcpStream, answer: &str) {
    stream.write_all(answer.as_bytes()).unwrap();
}

/// An address at which nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
