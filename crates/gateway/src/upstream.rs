//! The way to app-service: endpoints, connections that are kept, and what may be sent again.
//!
//! Each worker has its own; nothing here is shared between threads in earnest.

mod endpoint;
mod pool;
mod relay;
mod rotation;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

pub use endpoint::AppServiceArgs;
pub(crate) use relay::Relay;

use crate::forward;
use crate::refusal::Refusal;
use pool::{Connection, Pool};
use rotation::Rotation;

/// Tries for one request. Each further one needs proof that the one before had no effect.
const ATTEMPTS: usize = 3;

/// What app-service gets less than the whole of a route's timeout, at most.
const RETURN_TIME: Duration = Duration::from_millis(100);

pub(crate) struct Upstream {
    app_service: AppServiceArgs,
    pool: Arc<Pool>,
    rotation: Rotation,
}

/// How an attempt failed.
enum Failure {
    /// The request is back, and no byte of it was sent.
    Unsent(Box<Request<Full<Bytes>>>, String),
    /// It was sent, or part of it; nobody knows how far it got.
    Broken(String),
}

impl Upstream {
    pub(crate) fn new(app_service: AppServiceArgs) -> Upstream {
        Upstream {
            pool: Arc::new(Pool::new(app_service.endpoints().len())),
            rotation: Rotation::new(app_service.endpoints().len()),
            app_service,
        }
    }

    /// Closes the connections that have been idle for too long.
    pub(crate) fn prune(&self) {
        self.pool.prune();
    }

    /// Sends `request` and returns once the answer's head is here. `permit` lives as long as the answer's body.
    ///
    /// A request that provably was not sent is tried again, at the next endpoint if it was the connecting that failed.
    /// One that may have been sent is tried again only if it is safe (GET, HEAD), and only once.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Relay>, Refusal> {
        let call = Call::begin(&mut request);
        let attempts = self.attempts(request, deadline).instrument(call.span.clone());
        let outcome = tokio::time::timeout_at(deadline, attempts)
            .await
            .unwrap_or(Err(Refusal::Deadline));
        call.end(outcome.as_ref().map(|(response, _)| response.status()));
        let (response, connection) = outcome?;
        Ok(response.map(|body| Relay::new(body, deadline, connection, permit)))
    }

    async fn attempts(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<(Response<hyper::body::Incoming>, Connection), Refusal> {
        let mut spare = request.method().is_safe().then(|| request.clone());
        let mut endpoint = self.rotation.turn(Instant::now());
        let mut reuse = true;
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.note(endpoint);
            let connection = match self.connection(endpoint, reuse).await {
                Ok(connection) => connection,
                Err(reason) if attempt >= ATTEMPTS || self.app_service.endpoints().len() == 1 => {
                    return Err(Refusal::NotSent(reason));
                }
                Err(reason) => {
                    tracing::debug!(reason, "connecting failed, trying the next endpoint");
                    endpoint = self.rotation.after_refusal(endpoint, Instant::now());
                    continue;
                }
            };
            self.address(&mut request, endpoint, deadline);
            request = match exchange(connection, request).await {
                Ok(reply) => {
                    if says_goodbye(&reply.0) {
                        self.rotation.leaves(endpoint, Instant::now());
                        self.pool.forget(endpoint);
                    }
                    return Ok(reply);
                }
                Err(Failure::Unsent(_, reason)) if attempt >= ATTEMPTS => {
                    return Err(Refusal::NotSent(reason));
                }
                Err(Failure::Unsent(back, _)) => *back,
                Err(Failure::Broken(reason)) => spare.take().ok_or(Refusal::OutcomeUnknown(reason))?,
            };
            // The kept connections may all have ended in the same moment.
            reuse = false;
        }
    }

    /// Says in the call's span where this attempt goes; the last one stays.
    fn note(&self, endpoint: usize) {
        let authority = &self.app_service.endpoints()[endpoint].authority;
        if let Some((host, port)) = authority.rsplit_once(':') {
            let span = Span::current();
            span.record("server.address", host.trim_matches(['[', ']']));
            span.record("server.port", port.parse::<u16>().ok());
        }
    }

    async fn connection(&self, endpoint: usize, reuse: bool) -> Result<Connection, String> {
        if reuse && let Some(kept) = self.pool.idle(endpoint).await {
            return Ok(kept);
        }
        self.pool.connect(endpoint, &self.app_service).await
    }

    /// The headers that depend on where and when the request goes.
    fn address(&self, request: &mut Request<Full<Bytes>>, endpoint: usize, deadline: Instant) {
        let host = HeaderValue::try_from(self.app_service.host(endpoint))
            .expect("a host that was parsed at start is a header value");
        let left = deadline.saturating_duration_since(Instant::now());
        // App-service's own answer says whether anything was changed, ours cannot: it has to come in time to be sent on.
        let left = left.saturating_sub((left / 10).min(RETURN_TIME)).as_millis();
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(
            forward::DEADLINE,
            HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX)),
        );
    }
}

/// The span and the metric of one call, all attempts together, until the answer's head.
struct Call {
    started: Instant,
    method: Method,
    span: Span,
}

impl Call {
    /// The request carries the trace on from here.
    fn begin(request: &mut Request<Full<Bytes>>) -> Call {
        let method = request.method().clone();
        let span = tracing::info_span!(
            "call",
            otel.kind = "client",
            otel.name = format!("{method} app-service"),
            otel.status_code = Empty,
            peer.service = "app-service",
            server.address = Empty,
            server.port = Empty,
            http.request.method = method.as_str(),
            http.response.status_code = Empty,
            error.type = Empty,
        );
        let traceparent = chassis::trace::traceparent(&span);
        if let Some(Ok(value)) = traceparent.map(HeaderValue::try_from) {
            request.headers_mut().insert(forward::TRACEPARENT, value);
        }
        Call {
            started: Instant::now(),
            method,
            span,
        }
    }

    fn end(self, outcome: Result<StatusCode, &Refusal>) {
        let (label, value) = match outcome {
            Ok(status) => {
                self.span.record("http.response.status_code", status.as_u16());
                if status.is_server_error() {
                    self.span.record("error.type", status.as_str());
                }
                ("http_response_status_code", status.as_str().to_owned())
            }
            Err(refusal) => {
                let kind = refusal.shape().slug;
                self.span.record("error.type", kind);
                ("error_type", kind.to_owned())
            }
        };
        if !outcome.is_ok_and(|status| !status.is_server_error()) {
            self.span.record("otel.status_code", "ERROR");
        }
        metrics::histogram!(
            "http_client_request_duration_seconds",
            "peer_service" => "app-service",
            "http_request_method" => self.method.to_string(),
            label => value,
        )
        .record(self.started.elapsed().as_secs_f64());
    }
}

/// A replica that is told to stop says so in every answer, while it still accepts.
fn says_goodbye<B>(response: &Response<B>) -> bool {
    let connection = response.headers().get(header::CONNECTION);
    connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

async fn exchange(
    mut connection: Connection,
    request: Request<Full<Bytes>>,
) -> Result<(Response<hyper::body::Incoming>, Connection), Failure> {
    match connection.sender().try_send_request(request).await {
        Ok(response) => Ok((response, connection)),
        Err(mut error) => Err(match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request), error.error().to_string()),
            None => Failure::Broken(error.error().to_string()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::channel;

    use http_body_util::BodyExt;
    use tokio::io::AsyncReadExt;
    use tokio::sync::Semaphore;

    use super::*;

    fn answer(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).unwrap();
        assert!(head.starts_with(b"POST / HTTP/1.1") && head[..read].ends_with(b"\r\n\r\n"));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        stream
    }

    async fn post(upstream: &Upstream) -> Result<StatusCode, Refusal> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = Method::POST;
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let response = upstream.send(request, deadline, permit).await?;
        let status = response.status();
        response.into_body().collect().await.unwrap();
        Ok(status)
    }

    /// The worst moment for app-service to close a kept connection: the next request is already on its way to it, and
    /// the connection's own task has not run yet. hyper gives the request back, and it is sent on a fresh connection,
    /// although it is a POST.
    #[tokio::test]
    async fn a_request_that_a_closed_connection_gives_back_is_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (close, told) = channel();
        let (closed, done) = channel();
        let server = std::thread::spawn(move || {
            let first = answer(&listener);
            told.recv().unwrap();
            drop(first);
            closed.send(()).unwrap();
            answer(&listener);
        });
        let upstream = Upstream::new(AppServiceArgs::at(&format!("http://{address}")));
        assert_eq!(post(&upstream).await.unwrap(), StatusCode::OK);
        // The connection's task gets to see that the answer has ended.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }

        // This task is woken by the very look at the sockets that would wake the connection's, and runs first.
        let doorbells = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ring = TcpStream::connect(doorbells.local_addr().unwrap()).unwrap();
        let (bell, _) = doorbells.accept().unwrap();
        bell.set_nonblocking(true).unwrap();
        let mut bell = tokio::net::TcpStream::from_std(bell).unwrap();
        ring.write_all(b"!").unwrap();
        close.send(()).unwrap();
        done.recv().unwrap();
        bell.read_u8().await.unwrap();

        assert_eq!(post(&upstream).await.unwrap(), StatusCode::OK);
        server.join().unwrap();
    }
}
