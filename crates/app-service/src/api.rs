//! The HTTP API: one endpoint a file.

pub(crate) mod customers;
pub(crate) mod orders;
pub(crate) mod products;

use std::future::ready;

use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig, get, patch, post, resource, to};
use actix_web::{HttpResponse, Route};
use chassis::Problem;

use crate::app::App;
use crate::call::Call;
use crate::docs;
use crate::problems::{METHOD_NOT_ALLOWED, NOT_FOUND};

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

/// A path and what can be done there.
pub(crate) type Resource = (&'static str, Vec<(Method, Route)>);

/// Every endpoint.
#[rustfmt::skip]
pub(crate) fn resources() -> Vec<Resource> {
    vec![
        ("/v1/products", vec![
            (Method::GET, get().to(products::list::list)),
            (Method::POST, post().to(products::create::create)),
        ]),
        ("/v1/products/{id}", vec![
            (Method::GET, get().to(products::get::get)),
            (Method::PATCH, patch().to(products::edit::edit)),
        ]),
        ("/v1/products/{id}/stock", vec![(Method::GET, get().to(products::get_stock::get_stock))]),
        ("/v1/products/{id}/stock-adjustments", vec![(Method::POST, post().to(products::adjust_stock::adjust_stock))]),
        ("/v1/customers", vec![(Method::POST, post().to(customers::register::register))]),
        ("/v1/customers/{id}", vec![(Method::GET, get().to(customers::get::get))]),
        ("/v1/customers/{id}/orders", vec![(Method::GET, get().to(customers::orders::orders))]),
        ("/v1/orders", vec![(Method::POST, post().to(orders::place::place))]),
        ("/v1/orders/{id}", vec![(Method::GET, get().to(orders::get::get))]),
        ("/v1/orders/{id}/payment", vec![(Method::POST, post().to(orders::pay::pay))]),
        ("/v1/orders/{id}/shipment", vec![(Method::POST, post().to(orders::ship::ship))]),
        ("/v1/orders/{id}/cancellation", vec![(Method::POST, post().to(orders::cancel::cancel))]),
        ("/openapi.json", vec![(Method::GET, get().to(docs::document))]),
        ("/docs", vec![(Method::GET, get().to(docs::pages))]),
        ("/docs/{file}", vec![(Method::GET, get().to(docs::page))]),
    ]
}

pub(crate) fn configure(config: &mut ServiceConfig, app: &App) {
    config
        .app_data(Data::new(app.clone()))
        .default_service(to(async |_: Call| {
            Err::<HttpResponse, Problem>(NOT_FOUND.because("no such path"))
        }));
    for (path, routes) in resources() {
        let allowed: Vec<&str> = routes.iter().map(|(method, _)| method.as_str()).collect();
        let allowed = allowed.join(", ");
        let other = to(move |_: Call| {
            let problem = METHOD_NOT_ALLOWED.because(format_args!("it takes {allowed}"));
            ready(Err::<HttpResponse, Problem>(problem.allow(allowed.clone())))
        });
        let routes = routes.into_iter().map(|(_, route)| route);
        config.service(
            routes
                .fold(resource(path), |resource, route| resource.route(route))
                .default_service(other),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TABLE: &str = include_str!("../../../authorization.toml");

    #[test]
    fn authorization_toml_has_every_endpoint_and_no_other() {
        let table: toml::Table = TABLE.parse().expect("it is TOML");
        let endpoints = table["endpoint"].as_array().expect("it is a list");
        let route = |endpoint: &toml::Value| endpoint["route"].as_str().map(str::to_owned);
        let stated: BTreeSet<String> = endpoints.iter().filter_map(route).collect();
        let registered = resources().into_iter().flat_map(|(path, routes)| {
            let methods = routes.into_iter().map(|(method, _)| method);
            methods.map(move |method| format!("{method} {path}"))
        });
        assert_eq!(stated, registered.collect());
    }
}
