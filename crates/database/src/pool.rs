use std::time::Duration;

use anyhow::Context as _;
use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use crate::args::DatabaseArgs;
use crate::language;
use crate::patience::{StillDown, until_up};
use crate::session::{CONNECT_LIMIT, Limits, connect};

/// Connections to the process's own database; cheap to clone.
pub type Pool = diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection>;

/// Longest wait for a free connection. A request that waits longer is better refused: its caller is about to give up as well.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Builds the pool; connects to nothing yet.
///
/// Must be called on the runtime that lives as long as the process: that runtime drives every connection, also those that are first
/// needed on an HTTP worker. A worker's runtime has one thread, and a connection driven there would stall whenever that worker is busy.
///
/// # Errors
/// When the URL is invalid. `DatabaseArgs` that were parsed by clap are valid.
pub fn pool(args: &DatabaseArgs, application_name: &str) -> anyhow::Result<Pool> {
    let access = args.access.clone();
    access.read()?;
    let runtime = Handle::current();
    let application_name = application_name.to_owned();

    let mut manager = ManagerConfig::<AsyncPgConnection>::default();
    // No ping at each checkout: it costs a round trip, and a connection whose driver saw the socket close is discarded without it.
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(move |_| {
        let (access, application_name) = (access.clone(), application_name.clone());
        let connecting =
            runtime.spawn(async move { connect(&access, &application_name, Limits::SERVING).await });
        async {
            connecting
                .await
                .unwrap_or_else(|gone| Err(ConnectionError::BadConnection(gone.to_string())))
        }
        .boxed()
    });

    // The manager's own URL would be the same for every connection; `connect` reads it anew.
    Pool::builder(AsyncDieselConnectionManager::new_with_config("", manager))
        .max_size(args.db_max_connections)
        .wait_timeout(Some(WAIT_LIMIT))
        .create_timeout(Some(CONNECT_LIMIT))
        .recycle_timeout(Some(CONNECT_LIMIT))
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .context("cannot build the database pool")
}

/// Waits until one connection of the pool is up and in English, for at most about `limit`; says in the log that it waits.
///
/// # Errors
/// [`StillDown`], with the last refusal, when the time is over.
pub async fn wait_until_up(pool: &Pool, limit: Duration) -> Result<(), StillDown> {
    until_up(limit, async || {
        let mut connection = pool.get().await.map_err(|refusal| refusal.to_string())?;
        match language::fault(&mut connection).await {
            Ok(None) => Ok(()),
            Ok(Some(fault)) => {
                // It keeps the setting that it began with.
                drop(Object::take(connection));
                Err(fault)
            }
            Err(refusal) => Err(refusal.to_string()),
        }
    })
    .await
}
