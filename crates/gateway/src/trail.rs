//! What is known of one request when it ends: its span, its metric, its line in the access log.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode};
use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

use crate::refusal::Refusal;
use crate::routes::Route;

/// The client left before there was an answer; nobody sees this number but logs and metrics.
const CLIENT_GONE: u16 = 499;

/// Follows one request. It is written down when this goes, however the request ends.
pub(crate) struct Trail {
    started: Instant,
    method: &'static str,
    request_id: String,
    route: Option<Arc<Route>>,
    status: u16,
    /// The problem's type, and the reason.
    refused: Option<(&'static str, String)>,
    span: Span,
}

impl Trail {
    /// Begins a trace of our own: a `traceparent` from outside is not continued, nor is a request id.
    pub(crate) fn begin(method: &Method, scheme: &'static str) -> Trail {
        let method = known(method);
        let request_id = Uuid::now_v7().to_string();
        let span = tracing::info_span!(
            parent: None,
            "request",
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            url.scheme = scheme,
            http.route = Empty,
            http.response.status_code = Empty,
            error.type = Empty,
            request_id,
        );
        Trail {
            started: Instant::now(),
            method,
            request_id,
            route: None,
            status: CLIENT_GONE,
            refused: None,
            span,
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) fn request_id_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.request_id).expect("a UUID is hexadecimal digits and hyphens")
    }

    pub(crate) fn on<'r>(&mut self, route: &'r Arc<Route>) -> &'r Route {
        self.route = Some(Arc::clone(route));
        route
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.refused = Some((refusal.shape().slug, refusal.to_string()));
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let template = self
            .route
            .as_ref()
            .map_or("unmatched", |route| route.path.as_str());
        let id = self.route.as_ref().map_or("unmatched", |route| route.id.as_str());
        let took = self.started.elapsed();
        // The span was entered long ago: recording `otel.name` would do nothing.
        chassis::trace::rename(&self.span, format!("{} {template}", self.method));
        self.span.record("http.route", template);
        self.span.record("http.response.status_code", self.status);
        if self.status >= 500 {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", self.status);
        }
        metrics::histogram!(
            "http_server_request_duration_seconds",
            "http_request_method" => self.method,
            "http_route" => template.to_owned(),
            "http_response_status_code" => self.status.to_string(),
        )
        .record(took.as_secs_f64());
        // The span carries the request id and the trace id. Who called is nobody's business here.
        self.span.in_scope(|| {
            tracing::info!(
                method = self.method,
                route = id,
                status = self.status,
                duration_ms = took.as_secs_f64() * 1e3,
                refused = self.refused.as_ref().map(|(_, reason)| reason.as_str()),
                error.type = self.refused.as_ref().map(|(kind, _)| *kind),
                "request"
            );
        });
    }
}

/// Says what the gateway's own metrics are; the server's is described where all processes share it.
pub(crate) fn describe() {
    metrics::describe_histogram!(
        "http_client_request_duration_seconds",
        metrics::Unit::Seconds,
        "Time from sending a request to another process until its answer's head, all attempts together.",
    );
}

/// A method as a label: anything may stand in a request line, and labels must stay few.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}
