//! The JSON API: read-only, for bearers of a token with `analytics:read`.

mod page;
mod reader;
mod revenue;
mod units;

use actix_web::web::{Data, ServiceConfig};
use chassis::Problem;
use database::Pool;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;
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
    async fn connection(&self) -> Result<Object<AsyncPgConnection>, Problem> {
        self.pool
            .get()
            .await
            .map_err(|error| unavailable(anyhow::Error::new(error)))
    }
}

fn unavailable(cause: impl Into<anyhow::Error>) -> Problem {
    Problem::new(503u16, "database-unavailable", "the database does not answer").caused_by(cause)
}
