//! Every endpoint with every kind of caller, as `authorization.toml` says.

mod assertions;
mod ownership;

use std::collections::BTreeMap;
use std::path::Path;

use identity::Caller;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use crate::shop::{Shop, answer, caller, shopper};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    scopes: Vec<String>,
    endpoint: Vec<Endpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    /// `METHOD /path`
    route: String,
    /// What kind of thing the path names, where that matters.
    #[serde(default)]
    of: String,
    anonymous: u16,
    owner: u16,
    another: u16,
    #[serde(default)]
    holding: BTreeMap<String, Holding>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Holding {
    Everybody(u16),
    ByOwnership { owner: u16, another: u16 },
}

impl Endpoint {
    /// What it answers to the owner and to another, holding `scope`.
    fn answers(&self, scope: &str) -> (u16, u16) {
        match self.holding.get(scope) {
            None => (self.owner, self.another),
            Some(Holding::Everybody(status)) => (*status, *status),
            Some(Holding::ByOwnership { owner, another }) => (*owner, *another),
        }
    }
}

fn file<T: DeserializeOwned>(path: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A shop with something of everything in it.
struct Scene {
    shop: Shop,
    customer: String,
    product: String,
    draft: String,
}

impl Scene {
    async fn set() -> Scene {
        let shop = Shop::open().await;
        let customer = shop.register(&shopper("ada")).await;
        shop.register(&shopper("bob")).await;
        let product = shop.product(10_000, json!({})).await;
        let draft = shop.product(1, json!({"status": "draft"})).await;
        Scene {
            shop,
            customer,
            product,
            draft,
        }
    }

    /// An order of Ada's.
    async fn order(&self) -> String {
        let placed = self.shop.order(&shopper("ada"), &[(&self.product, 1)]).await;
        placed.expect(StatusCode::CREATED).id()
    }

    /// A right request for the endpoint, on things of its own.
    async fn request(&self, endpoint: &Endpoint, caller: &Caller) -> reqwest::RequestBuilder {
        let (method, path) = endpoint.route.split_once(' ').unwrap();
        let id = match (path.split('/').nth(2), endpoint.of.as_str()) {
            _ if !path.contains("{id}") => String::new(),
            (Some("products"), "draft") => self.draft.clone(),
            (Some("products"), _) => self.product.clone(),
            (Some("customers"), _) => self.customer.clone(),
            (Some("orders"), _) => self.order().await,
            unknown => panic!("{unknown:?}"),
        };
        if path.ends_with("/shipment") {
            let path = format!("/v1/orders/{id}/payment");
            let paid = self.shop.post(&crate::shop::cashier(), &path, json!({})).await;
            paid.expect(StatusCode::OK);
        }
        let body = match endpoint.route.as_str() {
            "POST /v1/products" => {
                let sku = format!("S-{}", Uuid::now_v7().simple());
                json!({"sku": sku, "name": "Mug", "price_minor": 1, "currency": "EUR"})
            }
            "PATCH /v1/products/{id}" => json!({"name": "Mug"}),
            "POST /v1/products/{id}/stock-adjustments" => json!({"delta": 1}),
            "POST /v1/customers" => json!({"name": "Somebody"}),
            "POST /v1/orders" => json!({"lines": [{"product_id": self.product, "quantity": 1}]}),
            _ => json!({}),
        };
        let method: Method = method.parse().unwrap();
        let request = self.shop.request(
            caller,
            method.clone(),
            &path.replace("{id}", &id).replace("{file}", "index.html"),
        );
        if method == Method::GET {
            request
        } else {
            request.json(&body)
        }
    }

    async fn check(&self, endpoint: &Endpoint, who: &str, scopes: &[&str], expected: u16) {
        let caller = match who {
            "anonymous" => Caller::anonymous(),
            _ if endpoint.route == "POST /v1/customers" => caller(&Uuid::now_v7().to_string(), scopes),
            "owner" => caller("ada", scopes),
            _ => caller("bob", scopes),
        };
        let reply = answer(self.request(endpoint, &caller).await).await;
        let (route, of) = (&endpoint.route, &endpoint.of);
        assert_eq!(
            reply.status, expected,
            "{route} {of} by {who} with {scopes:?}: {}",
            reply.body
        );
    }
}

#[tokio::test]
async fn every_endpoint_answers_every_caller_as_the_table_says() {
    let table: Table = file("authorization.toml");
    let scene = Scene::set().await;
    for endpoint in &table.endpoint {
        for scope in endpoint.holding.keys() {
            assert!(
                table.scopes.contains(scope),
                "{}: {scope} is not a scope",
                endpoint.route
            );
        }
        scene.check(endpoint, "anonymous", &[], endpoint.anonymous).await;
        scene.check(endpoint, "owner", &[], endpoint.owner).await;
        scene.check(endpoint, "another", &[], endpoint.another).await;
        for scope in &table.scopes {
            let (owner, another) = endpoint.answers(scope);
            scene.check(endpoint, "owner", &[scope], owner).await;
            scene.check(endpoint, "another", &[scope], another).await;
        }
    }
    scene.shop.check_facts().await;
}

/// The parts of the gateway's routes that decide who gets through.
#[derive(Deserialize)]
struct Edge {
    route: Vec<EdgeRoute>,
}

#[derive(Deserialize)]
struct EdgeRoute {
    methods: Vec<String>,
    path: String,
    auth: EdgeAuth,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EdgeAuth {
    Anonymous(String),
    Token {
        #[serde(default)]
        scopes: Vec<String>,
    },
}

#[test]
fn the_edge_lets_everybody_through_whom_the_table_serves() {
    let table: Table = file("authorization.toml");
    let edge: Edge = file("deploy/gateway/routes.toml");
    for endpoint in &table.endpoint {
        let leads = |route: &&EdgeRoute| {
            let mut methods = route.methods.iter();
            methods.any(|method| endpoint.route == format!("{method} {}", route.path))
        };
        let route = edge.route.iter().find(leads);
        let Some(route) = route else {
            panic!("the edge has no route for {}", endpoint.route)
        };
        let refused = |status: u16| matches!(status, 401 | 403);
        match &route.auth {
            EdgeAuth::Anonymous(word) => {
                assert_eq!(word, "anonymous");
                assert_ne!(endpoint.anonymous, 401, "{}", endpoint.route);
            }
            EdgeAuth::Token { scopes: wanted } => {
                assert_eq!(endpoint.anonymous, 401, "{}", endpoint.route);
                assert!(wanted.is_empty() || refused(endpoint.owner) && refused(endpoint.another));
                for scope in &table.scopes {
                    let (owner, another) = endpoint.answers(scope);
                    let passes = wanted.iter().all(|wanted| wanted == scope);
                    assert!(
                        passes || refused(owner) && refused(another),
                        "{}: the edge refuses {scope}",
                        endpoint.route
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn who_has_not_registered_can_t_order() {
    let scene = Scene::set().await;
    let stranger = caller("dave", &["orders:write"]);
    let refused = scene.shop.order(&stranger, &[(&scene.product, 1)]).await;
    refused.expect_problem(403, "not-registered");
}
