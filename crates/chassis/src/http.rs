//! The HTTP/1.1 server of processes that sit behind the edge.

use std::rc::Rc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::{self, JsonConfig, PathConfig, PayloadConfig, QueryConfig, ServiceConfig};
use actix_web::{App, HttpServer};
use anyhow::Context as _;
use tls::HANDSHAKE_LIMIT;

use crate::args::HttpArgs;
use crate::observe::{Observer, RequestIds, observe};
use crate::problem::{self, Problem};
use crate::process::Process;

/// How long an idle connection is kept. Callers that pool connections must give up earlier, or they meet a closing one.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// From the first byte of a request's head to its last.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Per worker; further connections wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 4096;

pub(crate) async fn serve(
    process: &Process,
    args: &HttpArgs,
    request_ids: RequestIds,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let tls = process.listeners().at("HTTP_ADDR", args.http_addr)?;
    let listening = process.readiness("http");
    let shutdown = process.shutdown();
    let for_workers = shutdown.clone();
    let max_body = args.http_max_body_bytes;

    let mut server = HttpServer::new(move || {
        let observer = Rc::new(Observer::new(request_ids, for_workers.clone()));
        App::new()
            .configure(|config| limits(config, max_body))
            .default_service(web::to(no_route))
            .configure(configure.clone())
            .wrap(from_fn(move |request, next| {
                observe(Rc::clone(&observer), request, next)
            }))
    })
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_LIMIT)
    .max_connections(MAX_CONNECTIONS)
    .tls_handshake_timeout(HANDSHAKE_LIMIT)
    .shutdown_timeout(process.grace.as_secs())
    // The process handles signals: the server must go on accepting for the drain delay.
    .disable_signals();
    if let Some(workers) = args.http_workers {
        server = server.workers(usize::from(workers));
    }
    let server = match tls {
        Some(tls) => server.bind_rustls_0_23(args.http_addr, tls),
        None => server.bind(args.http_addr),
    }
    .with_context(|| format!("cannot listen on {}", args.http_addr))?;
    for address in server.addrs() {
        tracing::info!(%address, "serving HTTP");
    }
    let server = server.run();
    let handle = server.handle();
    let stopping = tokio::spawn(async move {
        shutdown.stop().await;
        handle.stop(true).await;
    });

    listening.set(true);
    let served = server.await;
    listening.set(false);
    stopping.abort();
    served.context("the HTTP server failed")
}

fn limits(config: &mut ServiceConfig, max_body: usize) {
    config
        .app_data(PayloadConfig::new(max_body))
        .app_data(
            JsonConfig::default()
                .limit(max_body)
                .error_handler(|error, _| problem::of_json(&error).into()),
        )
        .app_data(PathConfig::default().error_handler(|error, _| problem::of_path(&error).into()))
        .app_data(QueryConfig::default().error_handler(|error, _| problem::of_query(&error).into()));
}

async fn no_route() -> Result<&'static str, Problem> {
    Err(Problem::of_status(actix_web::http::StatusCode::NOT_FOUND))
}
