//! The HTTP API: one endpoint a file.

pub(crate) mod customers;
pub(crate) mod orders;
pub(crate) mod products;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Data, ServiceConfig, get, patch, post, resource, scope};

use crate::app::App;

/// What a token may allow; the names are those of its `scope`.
pub(crate) mod scopes {
    pub(crate) const CATALOGUE_WRITE: &str = "catalogue:write";
    pub(crate) const CUSTOMERS_WRITE: &str = "customers:write";
    pub(crate) const CUSTOMERS_READ_ANY: &str = "customers:read:any";
    pub(crate) const ORDERS_WRITE: &str = "orders:write";
    pub(crate) const ORDERS_READ_ANY: &str = "orders:read:any";
    pub(crate) const ORDERS_FULFIL: &str = "orders:fulfil";
    pub(crate) const PAYMENTS_RECORD: &str = "payments:record";
}

pub(crate) fn configure(config: &mut ServiceConfig, app: &App) {
    config.app_data(Data::new(app.clone())).service(
        scope("/v1")
            .wrap(from_fn(retry_later))
            .service(
                resource("/products")
                    .route(get().to(products::list::list))
                    .route(post().to(products::create::create)),
            )
            .service(
                resource("/products/{id}")
                    .route(get().to(products::get::get))
                    .route(patch().to(products::edit::edit)),
            )
            .service(
                resource("/products/{id}/stock-adjustments")
                    .route(post().to(products::adjust_stock::adjust_stock)),
            )
            .service(resource("/customers").route(post().to(customers::register::register)))
            .service(resource("/customers/{id}").route(get().to(customers::get::get)))
            .service(resource("/orders").route(post().to(orders::place::place)))
            .service(resource("/orders/{id}").route(get().to(orders::get::get)))
            .service(resource("/orders/{id}/payment").route(post().to(orders::pay::pay)))
            .service(resource("/orders/{id}/cancellation").route(post().to(orders::cancel::cancel))),
    );
}

/// Says with every 503 when to come back.
async fn retry_later(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}
