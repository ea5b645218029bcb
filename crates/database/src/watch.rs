//! Whether the database answers, and how busy the pool is, second by second.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use metrics::{Unit, describe_gauge, gauge};
use tokio::time::{sleep, timeout};

use crate::args::Access;
use crate::pool::Pool;
use crate::session::dedicated;

/// How often the database is probed, and how long an answer may take.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Reports for ever whether the database answers, and measures `pool`.
///
/// It asks on a connection of its own: a pool that is busy is no reason to lose a replica.
pub async fn watch(pool: Pool, database: Access, application_name: &str, report: impl Fn(bool)) {
    describe();
    let application_name = format!("{application_name} readiness");
    let mut connection = None;
    loop {
        let answered = timeout(PROBE_LIMIT, probe(&mut connection, &database, &application_name)).await;
        match answered {
            Ok(Ok(())) => report(true),
            failed => {
                connection = None;
                report(false);
                tracing::debug!(?failed, "the database did not answer");
            }
        }
        measure(&pool);
        sleep(PROBE_EVERY).await;
    }
}

async fn probe(
    connection: &mut Option<AsyncPgConnection>,
    database: &Access,
    application_name: &str,
) -> anyhow::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(dedicated(database, application_name).await?),
    };
    Ok(connection.batch_execute("SELECT 1").await?)
}

fn describe() {
    describe_gauge!(
        "db_client_connection_count",
        Unit::Count,
        "Connections of the pool, by state: used or idle."
    );
    describe_gauge!(
        "db_client_connection_max",
        Unit::Count,
        "Most connections that the pool may open."
    );
    describe_gauge!(
        "db_client_connection_pending_requests",
        Unit::Count,
        "Requests that wait for a connection of the pool."
    );
}

fn measure(pool: &Pool) {
    let status = pool.status();
    let idle = status.available.min(status.size);
    for (state, count) in [("used", status.size - idle), ("idle", idle)] {
        gauge!("db_client_connection_count", "state" => state).set(count as f64);
    }
    gauge!("db_client_connection_max").set(status.max_size as f64);
    gauge!("db_client_connection_pending_requests").set(status.waiting as f64);
}
