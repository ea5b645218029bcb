//! Every endpoint with every kind of caller.

use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::shop::{Shop, answer, caller, shopper};

const ALL_SCOPES: [&str; 10] = [
    "catalogue:write",
    "customers:write",
    "customers:read:any",
    "orders:write",
    "orders:read:any",
    "orders:fulfil",
    "payments:record",
    "analytics:read",
    "audit:read",
    "audit:raw",
];

/// A shop with something of everything in it.
struct Scene {
    shop: Shop,
    ada: Caller,
    customer: String,
    product: String,
    draft: String,
}

impl Scene {
    async fn set() -> Scene {
        let shop = Shop::open().await;
        let ada = shopper("ada");
        let customer = shop.register(&ada).await;
        shop.register(&shopper("bob")).await;
        let product = shop.product(1_000, json!({})).await;
        let draft = shop.product(1, json!({"status": "draft"})).await;
        Scene {
            shop,
            ada,
            customer,
            product,
            draft,
        }
    }

    async fn order(&self) -> String {
        let placed = self.shop.order(&self.ada, &[(&self.product, 1)]).await;
        placed.expect(StatusCode::CREATED).id()
    }

    /// A valid request for the endpoint, on things of its own.
    async fn request(&self, endpoint: &str) -> (Method, String, Option<Value>) {
        let (product, draft, customer) = (&self.product, &self.draft, &self.customer);
        match endpoint {
            "list products" => (Method::GET, "/v1/products".into(), None),
            "get a product" => (Method::GET, format!("/v1/products/{product}"), None),
            "get a draft" => (Method::GET, format!("/v1/products/{draft}"), None),
            "create a product" => {
                let sku = format!("S-{}", uuid::Uuid::now_v7().simple());
                let body = json!({"sku": sku, "name": "Mug", "price_minor": 1, "currency": "EUR"});
                (Method::POST, "/v1/products".into(), Some(body))
            }
            "edit a product" => (
                Method::PATCH,
                format!("/v1/products/{product}"),
                Some(json!({"name": "Mug"})),
            ),
            "adjust stock" => {
                let path = format!("/v1/products/{product}/stock-adjustments");
                (Method::POST, path, Some(json!({"delta": 1})))
            }
            "register" => (
                Method::POST,
                "/v1/customers".into(),
                Some(json!({"name": "Somebody"})),
            ),
            "get a customer" => (Method::GET, format!("/v1/customers/{customer}"), None),
            "place an order" => {
                let body = json!({"lines": [{"product_id": product, "quantity": 1}]});
                (Method::POST, "/v1/orders".into(), Some(body))
            }
            "get an order" => (Method::GET, format!("/v1/orders/{}", self.order().await), None),
            "pay an order" => (
                Method::POST,
                format!("/v1/orders/{}/payment", self.order().await),
                None,
            ),
            "cancel an order" => (
                Method::POST,
                format!("/v1/orders/{}/cancellation", self.order().await),
                None,
            ),
            unknown => panic!("{unknown}"),
        }
    }

    async fn check(&self, endpoint: &str, who: &str, caller: &Caller, expected: u16) {
        let (method, path, body) = self.request(endpoint).await;
        let mut request = self.shop.request(caller, method, &path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = answer(request).await;
        assert_eq!(
            reply.status.as_u16(),
            expected,
            "{who}: {endpoint}: {}",
            reply.body
        );
    }
}

/// (endpoint, anonymous, owner without scopes, another customer without scopes, the scope that allows it to anybody and
/// what it answers, the scope that allows it to the owner and what it answers to owner and another customer)
type Row = (
    &'static str,
    u16,
    u16,
    u16,
    Option<(&'static str, u16)>,
    Option<(&'static str, u16, u16)>,
);

const ROWS: [Row; 11] = [
    ("list products", 200, 200, 200, None, None),
    ("get a product", 200, 200, 200, None, None),
    ("get a draft", 404, 404, 404, Some(("catalogue:write", 200)), None),
    (
        "create a product",
        401,
        403,
        403,
        Some(("catalogue:write", 201)),
        None,
    ),
    (
        "edit a product",
        401,
        403,
        403,
        Some(("catalogue:write", 200)),
        None,
    ),
    (
        "adjust stock",
        401,
        403,
        403,
        Some(("catalogue:write", 200)),
        None,
    ),
    (
        "get a customer",
        401,
        200,
        404,
        Some(("customers:read:any", 200)),
        None,
    ),
    (
        "place an order",
        401,
        403,
        403,
        None,
        Some(("orders:write", 201, 201)),
    ),
    (
        "get an order",
        401,
        200,
        404,
        Some(("orders:read:any", 200)),
        None,
    ),
    (
        "pay an order",
        401,
        403,
        403,
        Some(("payments:record", 200)),
        None,
    ),
    (
        "cancel an order",
        401,
        403,
        403,
        Some(("orders:fulfil", 200)),
        Some(("orders:write", 200, 404)),
    ),
];

#[tokio::test]
async fn every_endpoint_answers_every_caller_as_the_table_says() {
    let scene = Scene::set().await;
    for (endpoint, anonymous, owner, other, for_anybody, for_owner) in ROWS {
        scene
            .check(endpoint, "anonymous", &Caller::anonymous(), anonymous)
            .await;
        scene.check(endpoint, "owner", &caller("ada", &[]), owner).await;
        scene.check(endpoint, "another", &caller("bob", &[]), other).await;
        for scope in ALL_SCOPES {
            let (mut as_owner, mut as_other) = (owner, other);
            if let Some((allowing, to_owner, to_other)) = for_owner
                && scope == allowing
            {
                (as_owner, as_other) = (to_owner, to_other);
            }
            if let Some((allowing, status)) = for_anybody
                && scope == allowing
            {
                (as_owner, as_other) = (status, status);
            }
            scene
                .check(
                    endpoint,
                    &format!("owner with {scope}"),
                    &caller("ada", &[scope]),
                    as_owner,
                )
                .await;
            scene
                .check(
                    endpoint,
                    &format!("another with {scope}"),
                    &caller("bob", &[scope]),
                    as_other,
                )
                .await;
        }
    }
    scene.shop.check_facts().await;
}

#[tokio::test]
async fn registering_needs_its_scope_and_ordering_a_registration() {
    let scene = Scene::set().await;
    scene
        .check("register", "anonymous", &Caller::anonymous(), 401)
        .await;
    for scope in ALL_SCOPES {
        let expected = if scope == "customers:write" { 201 } else { 403 };
        scene
            .check("register", scope, &caller("carol", &[scope]), expected)
            .await;
    }
    let stranger = caller("dave", &["orders:write"]);
    let refused = scene.shop.order(&stranger, &[(&scene.product, 1)]).await;
    refused.expect_problem(403, "not-registered");
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

    for (method, path) in [
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

#[tokio::test]
async fn another_s_order_is_not_found_whatever_its_state() {
    let scene = Scene::set().await;
    let order = scene.order().await;
    let bob = shopper("bob");
    let cancel = format!("/v1/orders/{order}/cancellation");
    scene
        .shop
        .post(&bob, &cancel, json!({}))
        .await
        .expect_problem(404, "not-found");
    scene
        .shop
        .post(&scene.ada, &cancel, json!({}))
        .await
        .expect(StatusCode::OK);
    scene
        .shop
        .post(&bob, &cancel, json!({}))
        .await
        .expect_problem(404, "not-found");
    scene
        .shop
        .post(&scene.ada, &cancel, json!({}))
        .await
        .expect_problem(409, "order-not-cancellable");
}
