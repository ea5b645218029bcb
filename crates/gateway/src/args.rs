use std::net::SocketAddr;
use std::path::PathBuf;

use chassis::ProcessArgs;
use identity::IssuerArgs;

use crate::config;
use crate::upstream::AppServiceArgs;

/// What `serve` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub process: ProcessArgs,

    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "HTTP_ADDR", value_name = "IP:PORT", help_heading = "HTTP")]
    pub http_addr: SocketAddr,

    /// Threads that serve HTTP, each with its own connections to app-service (1 to 1024).
    #[arg(long, env = "HTTP_WORKERS", value_name = "COUNT", default_value = "2", help_heading = "HTTP", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub http_workers: u16,

    /// Client connections at one time (1 to 1000000); further ones wait to be accepted.
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "COUNT", default_value = "4096", help_heading = "HTTP", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Requests in flight to app-service at one time (1 to 1000000); further ones are answered with 503.
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "COUNT", default_value = "1024", help_heading = "Edge", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_in_flight: u32,

    #[command(flatten)]
    pub app_service: AppServiceArgs,

    /// Route file, in TOML: methods and paths, who may use them, limits and timeouts.
    #[arg(long, env = "ROUTES_FILE", value_name = "FILE", help_heading = "Edge", value_parser = config::checked_routes)]
    pub routes_file: PathBuf,

    #[command(flatten)]
    pub issuer: IssuerArgs,

    /// The `aud` that access tokens must carry.
    #[arg(
        long,
        env = "JWT_AUDIENCE",
        value_name = "AUDIENCE",
        default_value = "plumbline",
        help_heading = "Identity"
    )]
    pub jwt_audience: String,

    /// Name of the issuer: in the route file, and before the colon of every principal.
    #[arg(
        long,
        env = "JWT_SOURCE",
        value_name = "NAME",
        default_value = "main",
        help_heading = "Identity"
    )]
    pub jwt_source: String,

    /// Ed25519 private key (PKCS#8, PEM) that signs the assertions to app-service.
    #[arg(long, env = "ASSERTION_KEY_FILE", value_name = "FILE", help_heading = "Identity", value_parser = config::checked_key)]
    pub assertion_key_file: PathBuf,

    /// The `kid` under which app-service knows that key.
    #[arg(long, env = "ASSERTION_KEY_ID", value_name = "ID", help_heading = "Identity", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub assertion_key_id: String,
}
