//! Listening: an accept loop and a runtime of its own for each worker.

use std::convert::Infallible;
use std::net::{IpAddr, TcpListener};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chassis::{Given, Heartbeat, Misconfigured, NoVerbs, Process, ProcessArgs, Program, Service};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::args::ServeArgs;
use crate::config::Config;
use crate::limits::Limits;
use crate::pipeline::{self, Edge};
use crate::trail;
use crate::upstream::{AppServiceArgs, Upstream};

const MOST_HEADERS: usize = 64;
const MOST_HEAD: usize = 16 * 1024;
/// What a connection may have read and not yet used.
const MOST_BUFFER: usize = 64 * 1024;
/// For a head to arrive, counted from the end of the request before it: hyper has one timer for both, so this is how
/// long a connection may be idle, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a worker shows that it lives, and how long it may fail to.
const TICK: Duration = Duration::from_secs(1);
const TICK_LIMIT: Duration = Duration::from_secs(10);
/// After an accept that failed, which is for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Program for ServeArgs {
    const SERVICE: Service = Service {
        name: "gateway",
        version: env!("CARGO_PKG_VERSION"),
    };
    const ABOUT: &'static str =
        "The edge: authentication, routing, rate limits, forwarding; and nothing of the shop.";
    type Verbs = NoVerbs;

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn faults(given: &Given<'_>) -> Vec<String> {
        match given.get::<ServeArgs>() {
            Some(args) => Config::load(&args).err().unwrap_or_default(),
            None => {
                let app_service = given.get::<AppServiceArgs>();
                app_service
                    .and_then(|args| args.check().err())
                    .into_iter()
                    .collect()
            }
        }
    }

    async fn serve(&self, process: Process) -> anyhow::Result<()> {
        serve(self, process).await
    }

    async fn run(verb: NoVerbs) -> anyhow::Result<()> {
        match verb {}
    }
}

/// Serves until the process is told to stop, and all that was in flight is answered.
async fn serve(args: &ServeArgs, process: Process) -> anyhow::Result<()> {
    let config = Config::load(args).map_err(|wrong| Misconfigured(wrong.join("\n")))?;
    let tls = process.listeners().at("HTTP_ADDR", args.http_addr)?.map(Arc::new);
    let listening = process.readiness("http");
    let listener =
        TcpListener::bind(args.http_addr).with_context(|| format!("cannot listen on {}", args.http_addr))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;

    trail::describe();
    let limits = Arc::new(Limits::new(&config.route_file));
    let routes = Arc::new(config.route_file.routes);
    let minter = Arc::new(config.minter);
    let in_flight = Arc::new(Semaphore::new(args.max_in_flight as usize));
    let connections = Arc::new(Semaphore::new(args.max_connections as usize));
    let mut workers = Vec::new();
    for number in 0..args.http_workers {
        let worker = Worker {
            listener: listener.try_clone()?,
            tls: tls.clone(),
            connections: Arc::clone(&connections),
            grace: Duration::from_secs(args.process.shutdown_grace_seconds),
            heartbeat: process.heartbeat("worker", TICK_LIMIT),
            edge: Arc::new(Edge {
                routes: Arc::clone(&routes),
                limits: Arc::clone(&limits),
                verifier: config.verifier.clone(),
                minter: Arc::clone(&minter),
                in_flight: Arc::clone(&in_flight),
                upstream: Upstream::new(args.app_service.clone()),
                shutdown: process.shutdown(),
                scheme: if tls.is_some() { "https" } else { "http" },
            }),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || worker.run())
            .context("cannot start a worker")?;
        workers.push(tokio::task::spawn_blocking(move || thread.join()));
    }
    drop(listener);
    tracing::info!(%address, workers = args.http_workers, routes = routes.iter().count(), "serving HTTP");
    listening.set(true);
    // A worker that fails or panics takes the process with it: half a gateway is harder to see than none.
    for ended in futures_util::future::try_join_all(workers).await? {
        ended.unwrap_or_else(|panic| resume_unwind(panic))?;
    }
    Ok(())
}

struct Worker {
    listener: TcpListener,
    /// `None` is plain text.
    tls: Option<Arc<ServerConfig>>,
    connections: Arc<Semaphore>,
    grace: Duration,
    heartbeat: Heartbeat,
    edge: Arc<Edge>,
}

impl Worker {
    fn run(self) -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a worker's runtime")?
            .block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        tokio::spawn(tick(self.heartbeat, Arc::clone(&self.edge)));
        let serving = TaskTracker::new();
        let stop = self.edge.shutdown.stop();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                (stream, peer, permit) = accept(&listener, &self.connections) => {
                    let edge = Arc::clone(&self.edge);
                    serving.spawn(serve_connection(edge, self.tls.clone(), stream, peer, permit));
                }
            }
        }
        drop(listener);
        serving.close();
        if tokio::time::timeout(self.grace, serving.wait()).await.is_err() {
            tracing::warn!(
                connections = serving.len(),
                error.type = "grace_exceeded",
                "the grace period ended with requests in flight"
            );
        }
        Ok(())
    }
}

async fn tick(heartbeat: Heartbeat, edge: Arc<Edge>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        heartbeat.beat();
        edge.upstream.prune();
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &tokio::net::TcpListener,
    connections: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, OwnedSemaphorePermit) {
    let permit = Arc::clone(connections)
        .acquire_owned()
        .await
        .expect("this semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip(), permit),
            Err(error) => {
                tracing::warn!(%error, error.type = "accept", "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    edge: Arc<Edge>,
    tls: Option<Arc<ServerConfig>>,
    stream: TcpStream,
    peer: IpAddr,
    _permit: OwnedSemaphorePermit,
) {
    // Without it a small answer waits for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended at once");
        return;
    }
    let Some(tls) = tls else {
        return serve_stream(edge, stream, peer).await;
    };
    let handshake = tokio::select! {
        handshake = tls::accept(tls, stream) => handshake,
        () = edge.shutdown.stop() => return,
    };
    match handshake {
        Ok(stream) => serve_stream(edge, stream, peer).await,
        Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
    }
}

async fn serve_stream<S>(edge: Arc<Edge>, stream: S, peer: IpAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let edge = Arc::clone(&edge);
        async move { Ok::<_, Infallible>(pipeline::respond(&edge, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MOST_HEADERS)
        .max_header_size(MOST_HEAD)
        .max_buf_size(MOST_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = edge.shutdown.stop() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients break connections all the time, and malformed heads end them here.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
