//! The admin server: probes and metrics, GET only, on its own thread and runtime, so that a busy process still answers its probes.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tls::{HANDSHAKE_LIMIT, ServerConfig};

use crate::build;
use crate::metrics::Metrics;
use crate::process::{Health, Process};
use crate::run::Service;
use crate::shutdown::Shutdown;

/// How often the recorder folds its raw histogram samples.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct State {
    service: Service,
    health: Arc<Health>,
    shutdown: Shutdown,
    metrics: Metrics,
}

/// Binds here, so that a taken port ends the start; serves until the process ends, also while it drains.
pub(crate) fn start(
    address: SocketAddr,
    service: Service,
    process: &Process,
    metrics: Metrics,
) -> anyhow::Result<()> {
    let state = State {
        service,
        health: process.health(),
        shutdown: process.shutdown(),
        metrics,
    };
    let tls = process.listeners().at_without_clients("ADMIN_ADDR", address)?;
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on the admin address {address}"))?;
    let address = listener.local_addr().context("cannot read the admin address")?;
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            if let Err(error) = actix_web::rt::System::new().block_on(serve(listener, tls, state)) {
                tracing::error!(%error, error.type = "admin_server", "the admin server failed");
            }
        })
        .context("cannot start the admin thread")?;
    tracing::info!(%address, "serving probes and metrics");
    Ok(())
}

async fn serve(listener: TcpListener, tls: Option<ServerConfig>, state: State) -> std::io::Result<()> {
    let recorder = state.metrics.clone();
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            recorder.upkeep();
        }
    });
    let state = Data::new(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .service(web::resource("/livez").route(web::get().to(livez)))
            .service(web::resource("/readyz").route(web::get().to(readyz)))
            .service(web::resource("/metrics").route(web::get().to(metrics)))
            .service(web::resource("/buildinfo").route(web::get().to(buildinfo)))
    })
    .workers(1)
    .tls_handshake_timeout(HANDSHAKE_LIMIT)
    .disable_signals();
    match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
        None => server.listen(listener)?,
    }
    .run()
    .await
}

/// 200 while every loop turns, otherwise 503: restart the process.
async fn livez(state: Data<State>) -> HttpResponse {
    let checks = state.health.alive();
    let alive = checks.iter().all(|(_, turning)| *turning);
    answer(alive, json!({"alive": alive, "checks": by_name(checks)}))
}

/// 200 when the process wants traffic, otherwise 503.
async fn readyz(state: Data<State>) -> HttpResponse {
    let checks = state.health.ready();
    let draining = state.shutdown.is_lame_duck();
    let ready = !draining && !checks.is_empty() && checks.iter().all(|(_, met)| *met);
    answer(
        ready,
        json!({"ready": ready, "draining": draining, "checks": by_name(checks)}),
    )
}

async fn metrics(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(state.metrics.render())
}

async fn buildinfo(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(build::info(state.service))
}

fn answer(good: bool, body: Value) -> HttpResponse {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status).json(body)
}

fn by_name(checks: Vec<(&'static str, bool)>) -> Map<String, Value> {
    checks
        .into_iter()
        .map(|(name, good)| (name.to_owned(), good.into()))
        .collect()
}
