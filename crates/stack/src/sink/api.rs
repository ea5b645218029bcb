//! The part of Mailpit's HTTP API that tests use, so that they run on either.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::mailbox::Mailbox;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// The longest request body, in bytes.
const BODY: usize = 1 << 20;

pub(crate) async fn serve(address: SocketAddr, mailbox: Arc<Mailbox>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mailbox = mailbox.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let mailbox = mailbox.clone();
                async move { Ok::<_, Infallible>(answer(request, &mailbox).await) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30));
            // A client that goes away in the middle is not our concern.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, mailbox: &Mailbox) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_end_matches('/').to_owned();
    let message = path.strip_prefix("/api/v1/message/");
    match (&head.method, path.as_str(), message) {
        (&Method::GET, "/livez" | "/readyz", _) => text(StatusCode::OK, "ok"),
        (&Method::GET, "/api/v1/messages", _) => {
            let query = head.uri.query().unwrap_or_default();
            list(
                mailbox,
                number(query, "start").unwrap_or(0),
                number(query, "limit").unwrap_or(50),
            )
        }
        (&Method::DELETE, "/api/v1/messages", _) => {
            let body = Limited::new(body, BODY).collect().await;
            body.map_or_else(
                |_| text(StatusCode::BAD_REQUEST, "unreadable body"),
                |body| delete(mailbox, &body.to_bytes()),
            )
        }
        (&Method::GET, _, Some(id)) => show(mailbox, id),
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

fn list(mailbox: &Mailbox, start: usize, limit: usize) -> Response<Full<Bytes>> {
    let (total, messages) = mailbox.list(start, limit);
    // Nothing is ever read, so every count of unread ones is the count of all.
    json_body(&json!({
        "total": total,
        "unread": total,
        "count": messages.len(),
        "messages_count": total,
        "messages_unread": total,
        "start": start,
        "tags": [],
        "messages": messages,
    }))
}

/// `{ID}` or `{ID}/raw`.
fn show(mailbox: &Mailbox, wanted: &str) -> Response<Full<Bytes>> {
    let (id, raw) = wanted
        .strip_suffix("/raw")
        .map_or((wanted, false), |id| (id, true));
    let Ok(id) = Uuid::parse_str(id) else {
        return text(StatusCode::NOT_FOUND, "message not found");
    };
    if raw {
        return mailbox
            .raw(id)
            .map_or_else(|| text(StatusCode::NOT_FOUND, "message not found"), plain);
    }
    mailbox.full(id).map_or_else(
        || text(StatusCode::NOT_FOUND, "message not found"),
        |message| json_body(&message),
    )
}

/// `{"IDs": [...]}`, or nothing for all.
fn delete(mailbox: &Mailbox, body: &[u8]) -> Response<Full<Bytes>> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = body["IDs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Option<Vec<Uuid>> = named
        .iter()
        .map(|id| Uuid::parse_str(id.as_str()?).ok())
        .collect();
    match ids.map(|ids| mailbox.delete(&ids)) {
        Some(Ok(())) => text(StatusCode::OK, "ok"),
        Some(Err(_)) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot delete"),
        None => text(StatusCode::BAD_REQUEST, "not an id"),
    }
}

fn number(query: &str, name: &str) -> Option<usize> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .find_map(|(_, value)| value.parse().ok())
}

fn json_body(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(bytes) => respond(StatusCode::OK, "application/json", bytes),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode"),
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn plain(bytes: Vec<u8>) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "text/plain; charset=utf-8", bytes)
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    response
}
