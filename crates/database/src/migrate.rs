use anyhow::{Context as _, anyhow};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _};

use crate::args::CommandArgs;
use crate::session::{Limits, connect_patiently};

/// The advisory lock that one `migrate` holds in a database ("plumb" in ASCII; advisory locks are per database).
const LOCK: i64 = 0x70_6c_75_6d_62;

/// Applies the migrations that the database lacks and returns how many those were.
///
/// Two at once are safe: the session holds an advisory lock, so the second waits and then finds nothing to do. Each migration is one
/// transaction. DDL waits at most 5 s for a table's lock, because everything that comes after it queues behind it; run it again then.
///
/// # Errors
/// [`Unavailable`](settings::Unavailable) when the database is not reached in time; when another `migrate` holds the lock for 10 min, or when a migration fails; those before it stay.
pub async fn migrate(args: &CommandArgs, migrations: EmbeddedMigrations) -> anyhow::Result<usize> {
    let mut connection = connect_patiently(args, "migrate", Limits::MIGRATING).await?;
    connection
        .batch_execute(&format!(
            "SELECT pg_advisory_lock({LOCK}); SET lock_timeout = '5s'"
        ))
        .await
        .context("cannot lock the database for migration")?;
    // diesel's migrations are synchronous. A blocking thread runs them on any runtime; the harness alone needs a multi-threaded one.
    tokio::task::spawn_blocking(move || apply(connection, migrations))
        .await
        .context("the migration's thread ended early")?
    // Dropping the connection ends the session, and with it the lock.
}

fn apply(connection: AsyncPgConnection, migrations: EmbeddedMigrations) -> anyhow::Result<usize> {
    let mut harness = AsyncMigrationHarness::new(connection);
    let applied = harness
        .run_pending_migrations(migrations)
        .map_err(|error| anyhow!(error).context("a migration failed"))?;
    for version in &applied {
        tracing::info!(migration = %version, "applied the migration");
    }
    Ok(applied.len())
}
