//! Against a real PostgreSQL: `cargo stack test -p database`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

mod migrate;
mod pool;
mod prepared;
mod tls;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/it/migrations");

/// The one text that `expression` yields.
async fn text(connection: &mut AsyncPgConnection, expression: &str) -> String {
    diesel::select(diesel::dsl::sql::<Text>(expression))
        .get_result(connection)
        .await
        .unwrap_or_else(|error| panic!("{expression}: {error}"))
}
