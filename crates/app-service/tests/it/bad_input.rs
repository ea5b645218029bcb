//! Wrong requests and what each is answered with: never a 5xx, and a pointer wherever a field is to blame.

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::shop::{Shop, answer, caller, remedy};

/// Method, path, body, status, problem type, pointers.
type Row = (
    Method,
    &'static str,
    Value,
    u16,
    &'static str,
    &'static [&'static str],
);

fn product(more: Value) -> Value {
    let mut body = json!({"sku": "S-1", "name": "Mug", "price_minor": 1, "currency": "EUR"});
    let members = body.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::String(gone) if gone == "(missing)" => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    body
}

fn rows() -> Vec<Row> {
    type Pointers = &'static [&'static str];
    let fields =
        |method, path, body, pointers: Pointers| (method, path, body, 422, "invalid-fields", pointers);
    let new = |more, pointers: Pointers| fields(Method::POST, "/v1/products", product(more), pointers);
    let edit = |body, pointers: Pointers| fields(Method::PATCH, "/v1/products/{product}", body, pointers);
    let order = |body, pointers: Pointers| fields(Method::POST, "/v1/orders", body, pointers);
    let adjust = |body, pointers: Pointers| {
        fields(
            Method::POST,
            "/v1/products/{product}/stock-adjustments",
            body,
            pointers,
        )
    };
    let register = |body, pointers: Pointers| fields(Method::POST, "/v1/customers", body, pointers);
    let get = |path, status, slug| (Method::GET, path, Value::Null, status, slug, &[] as &[&str]);
    let query =
        |path, parameters: Pointers| (Method::GET, path, Value::Null, 400, "invalid-query", parameters);
    let post = |path, status, slug| (Method::POST, path, json!({}), status, slug, &[] as &[&str]);
    let line =
        |product: &str, quantity: Value| json!({"lines": [{"product_id": product, "quantity": quantity}]});
    const NOBODY: &str = "0190aaaa-0000-7000-8000-000000000000";
    vec![
        // Fields, and all that is wrong with them at once.
        new(json!({"sku": ""}), &["/sku"]),
        new(json!({"sku": "a b"}), &["/sku"]),
        new(json!({"sku": "x".repeat(41)}), &["/sku"]),
        new(json!({"name": "  "}), &["/name"]),
        new(json!({"name": "x".repeat(201)}), &["/name"]),
        new(json!({"name": "a\u{0}b"}), &["/name"]),
        new(json!({"description": "a\u{0}b"}), &["/description"]),
        new(json!({"description": "x".repeat(5_001)}), &["/description"]),
        new(json!({"price_minor": -1}), &["/price_minor"]),
        new(
            json!({"price_minor": 9_007_199_254_740_992_i64}),
            &["/price_minor"],
        ),
        new(json!({"price_minor": u64::MAX}), &["/price_minor"]),
        new(json!({"price_minor": 1.5}), &["/price_minor"]),
        new(json!({"price_minor": "1"}), &["/price_minor"]),
        new(json!({"price_minor": null}), &["/price_minor"]),
        new(json!({"currency": "eur"}), &["/currency"]),
        new(json!({"currency": "XXX"}), &["/currency"]),
        new(json!({"quantity": -1}), &["/quantity"]),
        new(json!({"quantity": 1_000_001}), &["/quantity"]),
        new(json!({"status": "discontinued"}), &["/status"]),
        new(json!({"status": null}), &["/status"]),
        new(
            json!({"name": "", "sku": "?", "quantity": -1, "status": "x"}),
            &["/sku", "/name", "/quantity", "/status"],
        ),
        new(
            json!({"currency": "euro", "price_minor": -1}),
            &["/currency", "/price_minor"],
        ),
        new(json!({"colour": "blue"}), &["/colour"]),
        new(json!({"a/b~c": 1}), &["/a~1b~0c"]),
        new(json!({"id": NOBODY}), &["/id"]),
        new(json!({"name": "(missing)"}), &["/name"]),
        edit(json!({"name": ""}), &["/name"]),
        edit(json!({"name": null}), &["/name"]),
        edit(json!({"price_minor": -1}), &["/price_minor"]),
        edit(
            json!({"status": "sold", "name": "", "price_minor": -1}),
            &["/name", "/price_minor", "/status"],
        ),
        edit(json!({"currency": "USD"}), &["/currency"]),
        edit(json!({"version": 7}), &["/version"]),
        edit(json!([]), &[""]),
        adjust(json!({"delta": 0}), &["/delta"]),
        adjust(json!({"delta": "1"}), &["/delta"]),
        adjust(json!({"delta": 1e30}), &["/delta"]),
        adjust(json!({}), &["/delta"]),
        order(json!({"lines": []}), &["/lines"]),
        order(json!({"lines": {}}), &["/lines"]),
        order(json!({"lines": [[NOBODY, 1]]}), &["/lines/0"]),
        order(json!({}), &["/lines"]),
        order(line(NOBODY, json!(0)), &["/lines/0/quantity"]),
        order(line(NOBODY, json!(1_000_001)), &["/lines/0/quantity"]),
        order(line(NOBODY, json!(-1)), &["/lines/0/quantity"]),
        order(line(NOBODY, json!("1")), &["/lines/0/quantity"]),
        order(line(NOBODY, json!(1)), &["/lines/0/product_id"]),
        order(line("7", json!(1)), &["/lines/0/product_id"]),
        order(
            json!({"lines": [{"product_id": NOBODY, "quantity": 1, "unit_price_minor": 1}]}),
            &["/lines/0/unit_price_minor"],
        ),
        order(
            json!({"lines": vec![json!({"product_id": NOBODY, "quantity": 1}); 21]}),
            &["/lines"],
        ),
        register(json!({"name": ""}), &["/name"]),
        register(json!({"name": "A", "email": "x@example.com"}), &["/email"]),
        register(json!(["Ada"]), &[""]),
        // Paths, queries and methods.
        get("/v1/products/7", 400, "invalid-path"),
        get("/v1/orders/x", 400, "invalid-path"),
        get(
            "/v1/products/0190aaaa-0000-7000-8000-000000000000",
            404,
            "not-found",
        ),
        get(
            "/v1/orders/0190aaaa-0000-7000-8000-000000000000",
            404,
            "not-found",
        ),
        get(
            "/v1/customers/0190aaaa-0000-7000-8000-000000000000",
            404,
            "not-found",
        ),
        post(
            "/v1/orders/0190aaaa-0000-7000-8000-000000000000/payment",
            404,
            "not-found",
        ),
        post(
            "/v1/orders/0190aaaa-0000-7000-8000-000000000000/cancellation",
            404,
            "not-found",
        ),
        post(
            "/v1/orders/0190aaaa-0000-7000-8000-000000000000/shipment",
            404,
            "not-found",
        ),
        query("/v1/products?limit=0", &["limit"]),
        query("/v1/products?limit=101", &["limit"]),
        query("/v1/products?limit=-1", &["limit"]),
        query("/v1/products?limit=99999999999999999999", &["limit"]),
        query("/v1/products?limit=x", &["limit"]),
        query("/v1/products?limit=", &["limit"]),
        query("/v1/products?limit=%2B1", &["limit"]),
        query("/v1/products?limit=1&limit=1", &["limit"]),
        query("/v1/products?cursor=7", &["cursor"]),
        query(
            "/v1/products?cursor=%00&limit=1.5&status=sold",
            &["limit", "cursor", "status"],
        ),
        query("/v1/products?after=7", &["after"]),
        query("/v1/products/{product}/stock?limit=1", &["limit"]),
        query(
            "/v1/customers/{product}/orders?limit=0&cursor=x&status=paid",
            &["status", "limit", "cursor"],
        ),
        query("/v1/products?sort=name&Limit=1", &["sort", "Limit"]),
        query("/v1/products/{product}?fields=name", &["fields"]),
        query("/v1/customers/{product}?a", &["a"]),
        query("/v1/orders/{product}?a=1", &["a"]),
        (
            Method::POST,
            "/v1/orders?dry_run=1",
            json!({}),
            400,
            "invalid-query",
            &["dry_run"],
        ),
        (
            Method::PATCH,
            "/v1/products/{product}?a=1",
            json!({}),
            400,
            "invalid-query",
            &["a"],
        ),
        get("/v1/nothing", 404, "not-found"),
        get("/", 404, "not-found"),
        (
            Method::DELETE,
            "/v1/products",
            json!({}),
            405,
            "method-not-allowed",
            &[],
        ),
        (
            Method::PUT,
            "/v1/products/{product}",
            json!({}),
            405,
            "method-not-allowed",
            &[],
        ),
    ]
}

#[tokio::test]
async fn every_bad_request_is_a_problem_that_says_where() {
    let shop = Shop::open().await;
    let scopes = [
        "catalogue:write",
        "customers:write",
        "orders:write",
        "payments:record",
        "orders:fulfil",
    ];
    let ada = caller("ada", &scopes);
    let id = shop.product(1, json!({})).await;
    shop.register(&ada).await;
    let before = shop.facts().await.len();

    for (method, path, body, status, slug, pointers) in rows() {
        let path = path.replace("{product}", &id);
        let what = format!("{method} {path} {body}");
        let mut request = shop.request(&ada, method, &path);
        if body != Value::Null {
            request = request.json(&body);
        }
        let reply = answer(request).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.body);
        assert_eq!(
            reply.body["type"],
            format!("urn:plumbline:problem:{slug}"),
            "{what}: {}",
            reply.body
        );
        let detail = reply.body["detail"].as_str().unwrap_or_default();
        assert!(
            detail.ends_with(remedy(slug)),
            "{what}: what to do? {}",
            reply.body
        );
        let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = errors
            .iter()
            .map(|error| error["pointer"].as_str().or(error["parameter"].as_str()).unwrap())
            .collect();
        assert_eq!(found, pointers, "{what}: {}", reply.body);
        assert!(
            errors
                .iter()
                .all(|error| !error["detail"].as_str().unwrap().is_empty()),
            "{what}"
        );
    }
    assert_eq!(shop.facts().await.len(), before);
    shop.check_facts().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_told_apart() {
    let shop = Shop::open().await;
    let merchandiser = caller("m", &["catalogue:write"]);
    let valid = product(json!({})).to_string();
    let json_type = "application/json";
    let many = format!("{{\"sku\": \"{}\"}}", "x".repeat(70_000));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        (json_type, b"".to_vec(), 400, "malformed-json"),
        (json_type, b"{".to_vec(), 400, "malformed-json"),
        (json_type, b"{'sku': 1}".to_vec(), 400, "malformed-json"),
        (
            json_type,
            format!("{valid}{valid}").into_bytes(),
            400,
            "malformed-json",
        ),
        (json_type, b"{\"sku\": \"\xff\"}".to_vec(), 400, "malformed-json"),
        (json_type, br#"{"sku": "\ud800"}"#.to_vec(), 400, "malformed-json"),
        (json_type, "[".repeat(1_000).into_bytes(), 400, "malformed-json"),
        (
            json_type,
            br#"{"name": "a", "name": "b"}"#.to_vec(),
            422,
            "invalid-fields",
        ),
        (json_type, many.into_bytes(), 413, "body-too-large"),
        (
            "text/plain",
            valid.clone().into_bytes(),
            415,
            "unsupported-media-type",
        ),
        (
            "application/x-www-form-urlencoded",
            b"sku=1".to_vec(),
            415,
            "unsupported-media-type",
        ),
        ("", valid.clone().into_bytes(), 415, "unsupported-media-type"),
    ];
    for (media_type, body, status, slug) in cases {
        let mut request = shop
            .request(&merchandiser, Method::POST, "/v1/products")
            .body(body);
        if !media_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let reply = answer(request).await.expect_problem(status, slug);
        let detail = reply.body["detail"].as_str().unwrap_or_default();
        assert!(detail.ends_with(remedy(slug)), "what to do? {}", reply.body);
    }
    let charset = shop
        .request(&merchandiser, Method::POST, "/v1/products")
        .header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8")
        .body(valid);
    answer(charset).await.expect(reqwest::StatusCode::CREATED);
}
