//! The floor: a bare actix-web handler that does one Redis GET, in a process of its own, as app-service is. Beside it the same
//! handler with one part more: with the gateway's assertion verified, or with the crate `cache` in place of the GET.
//!
//! It is a child of the benchmark, which tells it what to serve by a line on its standard input, and ends it by closing that. It
//! answers with its address.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::error::{ErrorInternalServerError, ErrorUnauthorized};
use actix_web::web::{Data, Path, get};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Context as _;
use cache::{Cache, CacheArgs, LoadError, Loaded, Lookup, Namespace, Policy, Source};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncCommands as _, Client};
use identity::Verifier;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// What it serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) redis: String,
    /// The key that holds the body.
    pub(super) key: String,
    pub(super) body: String,
    pub(super) jwks_file: PathBuf,
    /// Whether what the crate `cache` counts goes anywhere.
    pub(super) with_metrics: bool,
}

#[derive(Clone)]
struct Floor {
    redis: MultiplexedConnection,
    key: String,
    verifier: Verifier,
    bodies: Namespace<Bodies>,
}

/// The body again, as an entry of a cache.
struct Bodies(String);

impl Source for Bodies {
    const NAMESPACE: &'static str = "floor";
    const SCHEMA: u16 = 1;
    type Key = String;

    async fn load(&self, _: &String) -> Result<Option<Loaded>, LoadError> {
        Ok(Some(Loaded {
            version: 1.try_into()?,
            mark: 0,
            body: self.0.clone().into(),
        }))
    }
}

/// Where the parts are.
pub(super) const BARE: &str = "/v1/products";
pub(super) const VERIFIED: &str = "/verified";
pub(super) const CACHED: &str = "/cached";

/// What the process does, from its first line to the end of its input.
pub async fn run() -> anyhow::Result<()> {
    let mut told = BufReader::new(tokio::io::stdin()).lines();
    let line = told.next_line().await?.context("nobody says what to serve")?;
    let assignment: Assignment = serde_json::from_str(&line)?;
    if assignment.with_metrics {
        PrometheusBuilder::new().install_recorder()?;
    }
    let client = Client::open(assignment.redis.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let () = redis.set(&assignment.key, &assignment.body).await?;
    let settings = CacheArgs {
        cache_scope: "lab".to_owned(),
        // Nothing publishes a watermark in this scope.
        cache_staleness_bound: Duration::ZERO,
        ..CacheArgs::at(&assignment.redis)
    };
    let cache = Cache::start(&settings, 8).await?;
    let floor = Data::new(Floor {
        redis,
        key: assignment.key,
        verifier: Verifier::assertions(&assignment.jwks_file)?,
        bodies: cache.namespace(Bodies(assignment.body), Policy::default())?,
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(floor.clone())
            .route("/v1/products/{id}", get().to(bare))
            .route("/verified/{id}", get().to(verified))
            .route("/cached/{id}", get().to(cached))
    })
    .disable_signals()
    .bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().copied().context("it listens nowhere")?;
    let server = server.run();
    let handle = server.handle();
    say(&address.to_string())?;
    tokio::spawn(async move {
        // Until its parent closes it, or is gone.
        while let Ok(Some(_)) = told.next_line().await {}
        handle.stop(false).await;
    });
    Ok(server.await?)
}

async fn bare(floor: Data<Floor>) -> actix_web::Result<HttpResponse> {
    let body: Vec<u8> = floor
        .redis
        .clone()
        .get(&floor.key)
        .await
        .map_err(ErrorInternalServerError)?;
    Ok(json(body))
}

async fn verified(floor: Data<Floor>, request: HttpRequest) -> actix_web::Result<HttpResponse> {
    let assertion = request.headers().get("x-plumbline-identity");
    let assertion = assertion
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    floor.verifier.verify(assertion).map_err(ErrorUnauthorized)?;
    bare(floor).await
}

async fn cached(floor: Data<Floor>, id: Path<String>) -> actix_web::Result<HttpResponse> {
    match floor.bodies.get(&id).await.map_err(ErrorInternalServerError)? {
        Lookup::Found(entry) => Ok(json(entry.body)),
        Lookup::Absent => Ok(HttpResponse::NotFound().finish()),
    }
}

fn json(body: impl actix_web::body::MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(body)
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
