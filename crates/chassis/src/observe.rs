//! What happens to every request around its handler: request id, server span, metrics, the problem body, and the lame duck's farewell.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use metrics::Histogram;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use tracing::field::Empty;
use tracing::{Instrument as _, Level, Span};
use uuid::Uuid;

use crate::problem::{self, Problem};
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Spans};
use crate::trace;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request in logs, answers and traces. Handlers find it in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new id, ordered by time.
    pub fn fresh() -> RequestId {
        RequestId(Uuid::now_v7())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Where request ids come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestIds {
    /// Made here: a caller must not choose what our logs say.
    Fresh,
    /// Taken from `x-request-id` when that is a UUID, because the gateway made it.
    FromCaller,
}

impl RequestIds {
    fn of(self, headers: &HeaderMap) -> RequestId {
        let sent = match self {
            RequestIds::Fresh => None,
            RequestIds::FromCaller => headers.get(X_REQUEST_ID),
        };
        sent.and_then(|value| Uuid::try_parse(value.to_str().ok()?).ok())
            .map_or_else(RequestId::fresh, RequestId)
    }
}

/// What one worker's requests share.
pub(crate) struct Observer {
    request_ids: RequestIds,
    shutdown: Shutdown,
    durations: Durations,
    spans: Spans,
}

impl Observer {
    pub(crate) fn new(request_ids: RequestIds, shutdown: Shutdown) -> Observer {
        Observer {
            request_ids,
            shutdown,
            durations: Durations::default(),
            spans: telemetry::spans(),
        }
    }
}

/// The histograms of this worker's requests, by route, method and status. Finding one by its name and labels costs more than what
/// is recorded in it; the labels are few.
#[derive(Default)]
struct Durations(RefCell<HashMap<String, OfRoute>>);

type OfRoute = HashMap<(&'static str, StatusCode), Histogram>;

impl Durations {
    fn record(&self, method: &'static str, route: &str, status: StatusCode, seconds: f64) {
        let mut by_route = self.0.borrow_mut();
        if let Some(duration) = by_route.get(route).and_then(|route| route.get(&(method, status))) {
            duration.record(seconds);
            return;
        }
        let duration = metrics::histogram!(
            "http_server_request_duration_seconds",
            "http_request_method" => method,
            "http_route" => route.to_owned(),
            "http_response_status_code" => status.as_u16().to_string(),
        );
        duration.record(seconds);
        by_route
            .entry(route.to_owned())
            .or_default()
            .insert((method, status), duration);
    }
}

pub(crate) async fn observe(
    observer: Rc<Observer>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let request_id = observer.request_ids.of(request.headers());
    request.extensions_mut().insert(request_id);
    let traceparent = request.headers().get("traceparent");
    let parent = traceparent.and_then(|traceparent| trace::remote(traceparent.to_str().ok()?));
    match parent {
        // A span that nobody will see is dearer than all else here. The trace's id, and the request's for log lines, need none.
        Some(parent) if observer.spans.leave_out(&parent) => {
            let context = parent.with_value(request_id);
            let answered = answer(observer, Span::none(), request_id, request, next);
            answered.with_context(context).await
        }
        parent => {
            let span = server_span(&request, request_id, parent);
            answer(observer, span, request_id, request, next).await
        }
    }
}

async fn answer(
    observer: Rc<Observer>,
    span: Span,
    request_id: RequestId,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let method = known(request.method());
    let called = async {
        let outcome = next.call(request).await;
        (outcome, Context::map_current(trace::is_unsampled))
    };
    let mut called = pin!(called.instrument(span));
    let (outcome, is_unsampled) = called.as_mut().await;
    let span = called.as_ref().get_ref().span();
    let record = |route: &str, status: StatusCode| {
        let seconds = started.elapsed().as_secs_f64();
        observer.durations.record(method, route, status, seconds);
        // Otherwise nobody would see it.
        if !is_unsampled {
            describe(span, method, route, status);
        }
    };
    let response = match outcome {
        Ok(response) => response.map_into_boxed_body(),
        // Only a middleware inside this one answers so, and the request is gone with it; actix makes the answer.
        Err(error) => {
            let status = error.as_response_error().status_code();
            record("unmatched", status);
            if status.is_server_error() {
                span.record("error.type", status.as_str());
            }
            return Err(error);
        }
    };

    let route = response
        .request()
        .match_pattern()
        .unwrap_or_else(|| "unmatched".to_owned());
    record(&route, response.status());
    if response.status().is_server_error() {
        span.in_scope(|| log_failure(method, &route, &response));
    } else if tracing::event_enabled!(Level::DEBUG) {
        let status = response.status().as_u16();
        span.in_scope(|| tracing::debug!(method, route, status, "answered"));
    }
    let mut response = as_problem(response, request_id);
    let mut buffer = Uuid::encode_buffer();
    if let Ok(value) = HeaderValue::from_str(request_id.0.hyphenated().encode_lower(&mut buffer)) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    if observer.shutdown.is_lame_duck() {
        // Says `Connection: close`, and closes: the caller's next request goes to another process.
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// A method as a label; anything may stand in a request line, and labels must stay few.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The path itself is no field: it holds ids, and the route says what was asked for.
fn server_span(request: &ServiceRequest, request_id: RequestId, parent: Option<Context>) -> Span {
    let method = known(request.method());
    let scheme = if request.app_config().secure() {
        "https"
    } else {
        "http"
    };
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.name = method,
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        url.scheme = scheme,
        error.type = Empty,
        %request_id,
    );
    if let Some(parent) = parent {
        trace::adopt(&span, parent);
    }
    span
}

fn describe(span: &Span, method: &'static str, route: &str, status: StatusCode) {
    trace::rename(span, format!("{method} {route}"));
    span.record("http.route", route);
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// One line for each 5xx. 500 is a bug that someone must look at; the others (a dependency is down, a deadline passed) have alerts.
fn log_failure(method: &str, route: &str, response: &ServiceResponse<BoxBody>) {
    let status = response.status().as_u16();
    let error = response.response().error();
    let problem = error.and_then(|error| error.as_error::<Problem>());
    let kind = problem.map_or("internal", Problem::slug);
    Span::current().record("error.type", kind);
    let cause = match problem {
        Some(problem) => match problem.cause() {
            Some(cause) => format!("{problem}: {cause:#}"),
            None => problem.to_string(),
        },
        None => error.map(ToString::to_string).unwrap_or_default(),
    };
    if status == 500 {
        tracing::error!(method, route, status, error = cause, error.type = kind, "request failed");
    } else {
        tracing::warn!(method, route, status, error = cause, error.type = kind, "request failed");
    }
}

/// Gives every error answer a problem body with the request's id; leaves an answer alone whose handler wrote a body of its own.
fn as_problem(response: ServiceResponse<BoxBody>, request_id: RequestId) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let bytes = match response.response().error() {
        Some(error) => match error.as_error::<Problem>() {
            Some(problem) => problem.to_bytes(request_id),
            None => Problem::of_status(status).to_bytes(request_id),
        },
        None if is_empty(&response) => Problem::of_status(status).to_bytes(request_id),
        None => return response,
    };
    response.map_body(|head, _| {
        let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
        head.headers_mut().insert(CONTENT_TYPE, content_type);
        BoxBody::new(bytes)
    })
}

fn is_empty(response: &ServiceResponse<BoxBody>) -> bool {
    matches!(
        response.response().body().size(),
        BodySize::None | BodySize::Sized(0)
    )
}
