//! The JSON API: read-only, for bearers of a token with `audit:read`. Payloads hold personal data and need `audit:raw` besides.

mod changed;
mod events;
mod reader;

use actix_web::web::{Data, ServiceConfig};
use chassis::Problem;
use database::Pool;
use identity::Verifier;

struct Api {
    pool: Pool,
    verifier: Verifier,
}

/// Adds the routes to a server.
pub fn routes(pool: Pool, verifier: Verifier) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let api = Data::new(Api { pool, verifier });
    move |config| {
        config.app_data(api.clone()).service(events::get);
    }
}

const UNAVAILABLE: &str = "database-unavailable";

fn unavailable(cause: impl Into<anyhow::Error>) -> Problem {
    Problem::new(503u16, UNAVAILABLE, "the database does not answer").caused_by(cause)
}
