//! The JSON API: read-only, for bearers of a token with `analytics:read`.

mod page;
mod reader;
mod revenue;
mod units;

use actix_web::web::{Data, ServiceConfig};
use chassis::Problem;
use database::Pool;
use diesel_async::AsyncPgConnection;
use identity::Verifier;

struct Api {
    pool: Pool,
    verifier: Verifier,
}

/// Adds the routes to a server.
pub fn routes(pool: Pool, verifier: Verifier) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let api = Data::new(Api { pool, verifier });
    move |config| {
        config
            .app_data(api.clone())
            .service(revenue::get)
            .service(units::get);
    }
}

impl Api {
    /// Runs `query` on a connection of the pool.
    async fn read<T>(
        &self,
        query: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let reading = async {
            let mut conn = self.pool.get().await.map_err(unavailable)?;
            query(&mut conn).await
        };
        database::observed("read", |_| UNAVAILABLE, reading).await
    }
}

const UNAVAILABLE: &str = "database-unavailable";

fn unavailable(cause: impl Into<anyhow::Error>) -> Problem {
    Problem::new(503u16, UNAVAILABLE, "the database does not answer").caused_by(cause)
}
