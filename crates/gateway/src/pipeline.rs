//! What happens to a request, in order.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use identity::{Minter, Verifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::Instrument;

use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::respond::{self, Answer};
use crate::routes::Routes;
use crate::trail::Trail;
use crate::upstream::Upstream;
use crate::{assertion, auth, body, forward, sanity};

/// All that handling a request needs. Workers share everything but the upstream's connections.
pub(crate) struct Edge {
    pub(crate) routes: Arc<Routes>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) verifier: Verifier,
    pub(crate) minter: Arc<Minter>,
    /// One permit for each request in flight to app-service.
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) upstream: Upstream,
    pub(crate) shutdown: chassis::Shutdown,
    /// What clients speak to the listener: `http`, or `https`.
    pub(crate) scheme: &'static str,
}

/// Answers a request, whatever becomes of it.
pub(crate) async fn respond(edge: &Edge, peer: IpAddr, request: Request<Incoming>) -> Answer {
    let mut trail = Trail::begin(request.method(), edge.scheme);
    let span = trail.span();
    let handled = AssertUnwindSafe(handle(edge, peer, request, &mut trail).instrument(span));
    let outcome = handled
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Refusal::Internal("handling the request panicked".to_owned())));
    let mut answer = outcome.unwrap_or_else(|refusal| {
        trail.refused(&refusal);
        respond::refuse(&refusal, trail.request_id())
    });
    let headers = answer.headers_mut();
    headers.insert(forward::REQUEST_ID, trail.request_id_header());
    if edge.shutdown.is_lame_duck() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    trail.answered(answer.status());
    answer
}

/// Each step takes what the ones before it proved, so that a step that is left out does not compile.
async fn handle(
    edge: &Edge,
    peer: IpAddr,
    request: Request<Incoming>,
    trail: &mut Trail,
) -> Result<Answer, Refusal> {
    let (head, incoming) = request.into_parts();
    let head = sanity::check(head)?;
    let route = trail.on(edge.routes.find(&head)?);
    let admitted = edge.limits.address(peer)?;
    let caller = auth::authenticate(&edge.verifier, route, &head, admitted)?;
    let counted = edge.limits.principal(route, caller)?;
    let permitted = auth::permit(route, counted)?;
    let body = body::read(route, &permitted, incoming).await?;
    let permit = enter(edge)?;
    let deadline = Instant::now() + route.timeout;
    let assertion = assertion::mint(&edge.minter, &permitted)?;
    let request = forward::rebuild(&head, assertion, &trail.request_id_header(), body)?;
    let reply = edge.upstream.send(request, deadline, permit).await?;
    Ok(respond::clean(head.method(), reply))
}

/// A place among the requests in flight. Nobody waits for one: a queue here would only add to the time that a client
/// waits for the same refusal.
fn enter(edge: &Edge) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&edge.in_flight)
        .try_acquire_owned()
        .map_err(|_| Refusal::Overloaded)
}
