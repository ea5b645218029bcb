//! The document and its pages, for people: Swagger UI, compiled in, so that nothing is fetched at build or run time.
//!
//! They are served through the gateway, to everybody: a client team looks for them where the API is.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path};
use bytes::Bytes;
use chassis::Problem;
use utoipa_swagger_ui::Config;

use crate::app::App;
use crate::call::Call;
use crate::openapi;
use crate::problems::NOT_FOUND;

/// What is served under `/openapi.json` and `/docs`.
#[derive(Clone)]
pub(crate) struct Docs {
    document: Bytes,
    pages: Arc<Config<'static>>,
}

/// Scripts and styles of this origin only: a page that a token is pasted into must not run anything else. Swagger UI sets styles from
/// its scripts.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                                       img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                                       frame-ancestors 'none'";

impl Docs {
    pub(crate) fn new() -> anyhow::Result<Docs> {
        Ok(Docs {
            document: openapi::document().to_json()?.into(),
            // Its default validator is a service on the Internet.
            pages: Arc::new(Config::from("/openapi.json").validator_url("none")),
        })
    }
}

/// `GET /openapi.json`.
pub(crate) async fn document(_: Call, app: Data<App>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(header::ContentType::json())
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(app.docs.document.clone())
}

/// `GET /docs`: to its first page, beside which the page's own links are right.
pub(crate) async fn pages(_: Call) -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, "/docs/index.html"))
        .finish()
}

/// `GET /docs/{file}`.
pub(crate) async fn page(_: Call, file: Path<String>, app: Data<App>) -> Result<HttpResponse, Problem> {
    let page = utoipa_swagger_ui::serve(&file, app.docs.pages.clone());
    let page = page.map_err(|error| Problem::internal(anyhow::anyhow!("{error}")))?;
    let page = page.ok_or_else(|| NOT_FOUND.because("no such page"))?;
    Ok(HttpResponse::Ok()
        .content_type(page.content_type)
        .insert_header((header::CACHE_CONTROL, "max-age=3600"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(page.bytes.into_owned()))
}
