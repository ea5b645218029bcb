//! One PostgreSQL session: how it connects and which limits it states.

use std::error::Error as _;
use std::time::Duration;

use anyhow::Context as _;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use settings::Unavailable;
use tokio_postgres::NoTls;

use crate::args::{Access, CommandArgs, Target};
use crate::patience::until_up;
use crate::tls::MakeTls;

/// To connect, authenticate and set the session up.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What a session may do; every value is enforced by the server.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The longest statement. Requests have deadlines of their own; this one also ends statements whose caller is gone.
    statement: Duration,
    /// The longest wait for one lock, so that a queue behind a stuck writer dissolves instead of growing.
    lock: Duration,
}

impl Limits {
    pub(crate) const SERVING: Limits = Limits {
        statement: Duration::from_secs(5),
        lock: Duration::from_secs(2),
    };

    /// A migration may build an index over a large table, and may wait for another `migrate` to finish.
    pub(crate) const MIGRATING: Limits = Limits {
        statement: Duration::from_secs(600),
        lock: Duration::from_secs(600),
    };
}

/// Opens a connection outside the pool, for a session that its caller keeps: a session lock, `LISTEN`, a long replay.
///
/// It has the limits of the pool's connections, except that nothing replaces it when it breaks: the caller does.
/// The task that drives the connection runs on the calling runtime.
///
/// # Errors
/// When the URL is invalid, or the server is not reached within 2 s or refuses.
pub async fn dedicated(
    database: impl Into<Access>,
    application_name: &str,
) -> anyhow::Result<AsyncPgConnection> {
    connect(&database.into(), application_name, Limits::SERVING)
        .await
        .context("cannot open a database connection")
}

/// Opens a connection for an operator's command, with the limits of [`dedicated`]; waits for the database as long as `args` says.
///
/// # Errors
/// [`Unavailable`](settings::Unavailable) when the server is not reached in this time, or refuses.
pub async fn for_command(args: &CommandArgs, application_name: &str) -> anyhow::Result<AsyncPgConnection> {
    connect_patiently(args, application_name, Limits::SERVING).await
}

pub(crate) async fn connect_patiently(
    args: &CommandArgs,
    application_name: &str,
    limits: Limits,
) -> anyhow::Result<AsyncPgConnection> {
    let attempt = async || {
        let connecting = connect(&args.access, application_name, limits).await;
        connecting.map_err(|refusal| refusal.to_string())
    };
    let connected = until_up(args.start_timeout, attempt).await;
    connected.map_err(|down| Unavailable(down.to_string()).into())
}

pub(crate) async fn connect(
    access: &Access,
    application_name: &str,
    limits: Limits,
) -> ConnectionResult<AsyncPgConnection> {
    let unusable = |error: &dyn std::error::Error| ConnectionError::InvalidConnectionUrl(error.to_string());
    let Target { config, verify } = access.read().map_err(|error| unusable(&error))?;
    let config = configure(config, application_name, limits);
    let tls = match verify {
        Some(verify) => Some(
            access
                .tls
                .client()
                .config(verify)
                .map_err(|error| unusable(&error))?,
        ),
        None => None,
    };
    let connecting = async {
        match tls {
            Some(tls) => {
                let (client, connection) = config.connect(MakeTls(tls)).await.map_err(bad_connection)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(bad_connection)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
        }
    };
    tokio::time::timeout(CONNECT_LIMIT, connecting)
        .await
        .map_err(|_| ConnectionError::BadConnection(format!("no session within {CONNECT_LIMIT:?}")))?
}

fn configure(
    mut config: tokio_postgres::Config,
    application_name: &str,
    limits: Limits,
) -> tokio_postgres::Config {
    // The last `-c` of a name wins: the URL may change a limit, but not what the system's promises rest on.
    let options = format!(
        "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout=10000 {} -c synchronous_commit=on",
        limits.statement.as_millis(),
        limits.lock.as_millis(),
        config.get_options().unwrap_or_default(),
    );
    config
        .application_name(application_name)
        .options(options)
        .connect_timeout(CONNECT_LIMIT)
        // The server's timeouts do not help when the server or the network vanishes without a packet: these find that out within
        // about 25 s when idle, and 15 s after a statement was sent. The defaults are two hours.
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(15));
    config
}

/// tokio-postgres says "error connecting to server" and keeps the cause as the source; diesel's error has only a text.
fn bad_connection(error: tokio_postgres::Error) -> ConnectionError {
    ConnectionError::BadConnection(match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}
