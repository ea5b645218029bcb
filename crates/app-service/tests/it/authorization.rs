//! Every endpoint with every kind of caller, as `authorization.toml` says.

use std::collections::BTreeMap;
use std::path::Path;

use identity::Caller;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{PRIVATE, Reply, Shop, answer, caller, shopper};

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

/// Everything but the id of the request.
fn without_request_id(mut reply: Reply) -> (StatusCode, Value) {
    reply.body.as_object_mut().unwrap().remove("request_id");
    (reply.status, reply.body)
}

#[tokio::test]
async fn nothing_tells_another_s_resource_from_one_that_does_not_exist() {
    let scene = Scene::set().await;
    let order = scene.order().await;
    let bob = shopper("bob");
    let used = "used-before";
    let first = scene
        .shop
        .plain(&bob, Method::POST, "/v1/orders")
        .header("idempotency-key", used);
    let body = json!({"lines": [{"product_id": scene.product, "quantity": 1}]});
    answer(first.json(&body)).await.expect(StatusCode::CREATED);

    let nobody_s = "0190aaaa-0000-7000-8000-000000000000";
    type Headers = Vec<(&'static str, &'static str)>;
    let requests: Vec<(&str, Method, &str, Headers, Value)> = vec![
        ("orders", Method::GET, "", vec![], Value::Null),
        (
            "orders",
            Method::GET,
            "",
            vec![("if-none-match", "*")],
            Value::Null,
        ),
        (
            "orders",
            Method::GET,
            "",
            vec![("if-none-match", "\"1-1\"")],
            Value::Null,
        ),
        (
            "orders",
            Method::POST,
            "/cancellation",
            vec![("idempotency-key", "new")],
            json!({}),
        ),
        (
            "orders",
            Method::POST,
            "/cancellation",
            vec![("idempotency-key", used)],
            json!({}),
        ),
        ("orders", Method::POST, "/cancellation", vec![], json!({})),
        (
            "orders",
            Method::POST,
            "/cancellation",
            vec![("idempotency-key", "odd")],
            json!({"a": 1}),
        ),
        (
            "orders",
            Method::POST,
            "/payment",
            vec![("idempotency-key", "pay")],
            json!({}),
        ),
        ("customers", Method::GET, "", vec![], Value::Null),
        (
            "customers",
            Method::GET,
            "",
            vec![("if-none-match", "*")],
            Value::Null,
        ),
    ];
    for cancelled in [false, true] {
        if cancelled {
            let path = format!("/v1/orders/{order}/cancellation");
            scene
                .shop
                .post(&shopper("ada"), &path, json!({}))
                .await
                .expect(StatusCode::OK);
        }
        for (collection, method, rest, headers, body) in &requests {
            let ask = async |id: &str| {
                let path = format!("/v1/{collection}/{id}{rest}");
                let mut request = scene.shop.plain(&bob, method.clone(), &path);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                if *body != Value::Null {
                    request = request.json(body);
                }
                without_request_id(answer(request).await)
            };
            let id = if *collection == "orders" {
                &order
            } else {
                &scene.customer
            };
            let (status, body) = ask(id).await;
            assert!(
                status.is_client_error(),
                "{method} {collection}{rest} {headers:?}: {status}"
            );
            assert_eq!(
                (status, body),
                ask(nobody_s).await,
                "{method} {collection}{rest} {headers:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_same_id_from_another_source_owns_nothing() {
    let scene = Scene::set().await;
    let order = format!("/v1/orders/{}", scene.order().await);
    let stranger = Caller {
        principal: "keys:ada".to_owned(),
        ..shopper("ada")
    };
    let shop = &scene.shop;
    shop.get(&stranger, &order).await.expect_problem(404, "not-found");
    shop.get(&stranger, &format!("/v1/customers/{}", scene.customer))
        .await
        .expect_problem(404, "not-found");
    let cancel = format!("{order}/cancellation");
    shop.post(&stranger, &cancel, json!({}))
        .await
        .expect_problem(404, "not-found");
    shop.order(&stranger, &[(&scene.product, 1)])
        .await
        .expect_problem(403, "not-registered");
}

/// An assertion as the gateway's key signs it, with other contents than the gateway would give it.
fn signed(typ: Option<&str>, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = typ.map(str::to_owned);
    header.kid = Some(kid.to_owned());
    let key = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

#[tokio::test]
async fn an_assertion_is_of_its_type_for_this_process_and_from_the_gateway() {
    const TYP: &str = "plumbline-identity+jwt";
    let shop = Shop::open().await;
    let now = jsonwebtoken::get_current_timestamp();
    let claims = |name: &str, value: Value| {
        let mut claims = json!({
            "iss": "gateway", "aud": "app-service", "sub": "main:ada", "scope": "", "iat": now, "exp": now + 60,
        });
        claims[name] = value;
        claims
    };
    let right = claims("iss", json!("gateway"));
    let rows = [
        ("right", signed(Some(TYP), "test", &right), 200),
        ("of no type", signed(None, "test", &right), 401),
        ("an access token", signed(Some("at+jwt"), "test", &right), 401),
        ("by an unknown key", signed(Some(TYP), "other", &right), 401),
        (
            "for the audit",
            signed(Some(TYP), "test", &claims("aud", json!("audit"))),
            401,
        ),
        (
            "for nobody",
            signed(Some(TYP), "test", &claims("aud", json!([]))),
            401,
        ),
        (
            "from an issuer",
            signed(Some(TYP), "test", &claims("iss", json!("main"))),
            401,
        ),
        (
            "without a source",
            signed(Some(TYP), "test", &claims("sub", json!("ada"))),
            401,
        ),
        (
            "of a job",
            signed(Some(TYP), "test", &claims("sub", json!("system:expire-orders"))),
            401,
        ),
        (
            "of nobody",
            signed(Some(TYP), "test", &claims("sub", Value::Null)),
            401,
        ),
        (
            "endless",
            signed(Some(TYP), "test", &claims("exp", json!(now + 3_600))),
            401,
        ),
        (
            "ended",
            signed(Some(TYP), "test", &claims("exp", json!(now - 3_600))),
            401,
        ),
        (
            "from tomorrow",
            signed(Some(TYP), "test", &claims("iat", json!(now + 86_400))),
            401,
        ),
    ];
    // The second time from what was remembered.
    for (what, assertion, status) in rows.iter().chain(&rows) {
        let request = shop
            .bare(Method::GET, "/v1/products")
            .header("x-plumbline-identity", assertion);
        assert_eq!(answer(request).await.status, *status, "{what}");
    }
}

#[tokio::test]
async fn nothing_is_answered_without_exactly_one_valid_assertion() {
    let shop = Shop::open().await;
    let valid = shop.request(&shopper("ada"), Method::GET, "/").build().unwrap();
    let valid = valid.headers()["x-plumbline-identity"]
        .to_str()
        .unwrap()
        .to_owned();
    // In the middle of the signature: of its last character, some bits don't count.
    let (start, end) = valid.split_at(valid.len() - 40);
    let other = if end.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{start}{other}{}", &end[1..]);
    let expired = Caller {
        expires_at: 1_000_000_000,
        ..shopper("ada")
    };
    let expired = shop.request(&expired, Method::GET, "/").build().unwrap();
    let expired = expired.headers()["x-plumbline-identity"]
        .to_str()
        .unwrap()
        .to_owned();

    // It is remembered, and lends nothing to those that look like it.
    let remembered = shop
        .bare(Method::GET, "/v1/products")
        .header("x-plumbline-identity", &valid);
    answer(remembered).await.expect(StatusCode::OK);
    for (method, path) in [
        (Method::GET, "/v1/nothing"),
        (Method::DELETE, "/v1/products"),
        (Method::GET, "/v1/products"),
        (Method::GET, "/v1/products/0190aaaa-0000-7000-8000-000000000000"),
        (Method::GET, "/v1/orders/0190aaaa-0000-7000-8000-000000000000"),
        (Method::POST, "/v1/orders"),
        (Method::POST, "/v1/products"),
    ] {
        for assertions in [
            vec![],
            vec![valid.as_str(), valid.as_str()],
            vec![valid.as_str(), "x"],
            vec![tampered.as_str()],
            vec![expired.as_str()],
            vec![""],
            vec!["bearer"],
        ] {
            let request = shop.bare(method.clone(), path);
            let with = |request: reqwest::RequestBuilder, value: &&str| {
                request.header("x-plumbline-identity", *value)
            };
            let reply = answer(assertions.iter().fold(request, with)).await;
            reply.expect_problem(401, "unauthenticated");
        }
    }
}
