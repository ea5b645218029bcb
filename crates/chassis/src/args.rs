//! Arguments that all processes share.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use settings::duration;

use crate::listener::TlsArgs;
use crate::telemetry;

/// How the process says what it does. Every verb takes these.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub(crate) struct LogArgs {
    /// Shape of the log lines on stdout.
    ///
    /// `json` is one object per line with `timestamp level target message service.name service.version`, within a request or a record
    /// `trace_id span_id request_id event_id`, and with a failure `error.type`. `pretty` is for people. Without it: `pretty` on a
    /// terminal, `json` elsewhere.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<LogFormat>,

    /// Which lines are logged: a level, then exceptions by module.
    ///
    /// Levels are `off error warn info debug trace`; `info,consumer=debug` is an example. Spans, and with them the ids in lines, do not
    /// depend on it.
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "LEVEL,MODULE=LEVEL,…",
        default_value = telemetry::DEFAULT_LOG,
        value_parser = telemetry::log_filter,
        global = true
    )]
    pub(crate) log_filter: String,

    /// Where traces are sent with OTLP over HTTP; without it none are sent.
    ///
    /// The collector's base URL, like `http://collector:4318`; `/v1/traces` is added. The exporter has no TLS: where the way to the
    /// collector must be encrypted, run one beside the process, which sends on. Of OpenTelemetry's other standard variables these hold,
    /// as variables only: `OTEL_SDK_DISABLED` (`true` makes no spans; a caller's trace is passed on), `OTEL_SERVICE_NAME` (the process's name in
    /// traces), `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (the whole URL; it wins over this), `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT` (milliseconds), `OTEL_TRACES_SAMPLER` (default `parentbased_always_on`; `always_on`, `always_off`,
    /// `traceidratio`, each also with `parentbased_`) and `OTEL_TRACES_SAMPLER_ARG` (the ratio, 0 to 1), `OTEL_BSP_SCHEDULE_DELAY` (milliseconds), `OTEL_BSP_MAX_QUEUE_SIZE` and `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` (spans), `OTEL_RESOURCE_ATTRIBUTES`.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = telemetry::collector,
        global = true
    )]
    pub(crate) otlp_endpoint: Option<String>,
}

impl LogArgs {
    pub(crate) fn format(&self) -> LogFormat {
        self.log_format.unwrap_or_else(LogFormat::for_this_output)
    }
}

/// What every long-running process takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessArgs {
    #[command(flatten)]
    pub admin: AdminArgs,

    #[command(flatten)]
    pub tls: TlsArgs,

    /// How long the process goes on accepting after SIGTERM, while it is no longer ready (0s to 10m).
    ///
    /// In this time `/readyz` answers 503 and every HTTP answer says `Connection: close`, so that load balancers and callers move away
    /// before the listener closes. Make it longer than they take to notice.
    #[arg(long, env = "DRAIN_DELAY", help_heading = "Process", value_name = "DURATION", default_value = "5s", value_parser = duration(Duration::ZERO..=Duration::from_secs(600)))]
    pub drain_delay: Duration,

    /// How long requests and batches in flight may take after that, in seconds (0 to 3600); then they are cut off.
    ///
    /// Whoever ends the process must give it this, `DRAIN_DELAY` and 5 s more before SIGKILL (Kubernetes: `terminationGracePeriodSeconds`).
    #[arg(
        long,
        env = "SHUTDOWN_GRACE_SECONDS",
        help_heading = "Process",
        value_name = "SECONDS",
        default_value = "20",
        value_parser = clap::value_parser!(u64).range(0..=3600)
    )]
    pub shutdown_grace_seconds: u64,
}

/// Where a process's admin server is: for the process itself, and for `healthcheck`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct AdminArgs {
    /// Where `/livez`, `/readyz`, `/metrics` and `/buildinfo` are served, GET only.
    ///
    /// They need no credentials: keep the port away from everyone but the probes and the monitoring. Port 0 takes a free one.
    #[arg(
        long,
        env = "ADMIN_ADDR",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:9080"
    )]
    pub admin_addr: SocketAddr,
}

/// What a process with an HTTP listener takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "HTTP_ADDR", value_name = "IP:PORT")]
    pub http_addr: SocketAddr,

    /// Threads that serve HTTP (1 to 1024); without it one per core.
    #[arg(long, env = "HTTP_WORKERS", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub http_workers: Option<u16>,

    /// Largest request body in bytes (0 to 16777216); a larger one is answered with 413.
    #[arg(
        long,
        env = "HTTP_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value = "65536",
        value_parser = body_size
    )]
    pub http_max_body_bytes: usize,
}

/// Shape of the log lines on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// Text for people.
    Pretty,
}

impl LogFormat {
    fn for_this_output() -> LogFormat {
        if std::io::stdout().is_terminal() {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        }
    }
}

fn body_size(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|bytes| (0..=16 << 20).contains(bytes))
        .ok_or_else(|| "it is not a number of bytes from 0 to 16777216".to_owned())
}
