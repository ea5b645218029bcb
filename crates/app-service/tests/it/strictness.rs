//! Bytes that a client's library would not send: each is a 4xx that names what is wrong and what to do.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, header};
use serde_json::Value;

use crate::shop::{Reply, Shop, answer, caller};

/// A product as JSON text, with `members` before the closing brace.
fn product(sku: &str, members: &str) -> String {
    format!(r#"{{"sku": "{sku}", "name": "Mug", "currency": "EUR"{members}}}"#)
}

/// The places that the problem names.
fn places(reply: &Reply) -> Vec<String> {
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    let place = |error: &Value| {
        assert!(
            error["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
            "{error}"
        );
        let place = error["pointer"].as_str().or(error["parameter"].as_str());
        place.unwrap().to_owned()
    };
    errors.iter().map(place).collect()
}

#[tokio::test]
async fn a_body_is_one_json_object_with_the_right_members() {
    let price = |number: &str| product("S", &format!(r#", "price_minor": {number}"#));
    let named =
        |name: &str| format!(r#"{{"sku": "S", "name": {name}, "currency": "EUR", "price_minor": 1}}"#);
    let deep = format!("{}{}", r#"{"name": "#.repeat(20), "}".repeat(20));
    let unknown: Vec<String> = (0..1_000).map(|n| format!(r#""x{n}": {n}"#)).collect();
    let unknown = format!("{{{}}}", unknown.join(","));
    let first_50: Vec<String> = (0..50).map(|n| format!("/x{n}")).collect();
    let first_50: Vec<&str> = first_50.iter().map(String::as_str).collect();
    let invalid = |body: String, pointers: &[&str]| {
        let pointers = pointers.iter().map(ToString::to_string).collect();
        (body.into_bytes(), 422, "invalid-fields", pointers)
    };
    let malformed = |body: &[u8]| (body.to_vec(), 400, "malformed-json", Vec::new());
    let rows: Vec<(Vec<u8>, u16, &str, Vec<String>)> = vec![
        // All at once: of the wrong type, missing, unknown, repeated, against a rule.
        invalid(
            r#"{"sku": 1, "name": null, "quantity": 1.5, "currency": "eur", "colour": "blue", "status": "sold", "sku": 2}"#
                .to_owned(),
            &["/colour", "/sku", "/name", "/price_minor", "/quantity", "/currency", "/status"],
        ),
        invalid(unknown, &first_50),
        invalid(product("S", r#", "price_minor": 1, "price_minor": 1"#), &["/price_minor"]),
        invalid(product("S", r#", "Price_minor": 1"#), &["/Price_minor", "/price_minor"]),
        invalid(product("S", r#", "price_minor": 1, "": 1, "a/b~": 1"#), &["/", "/a~1b~0"]),
        invalid("{}".to_owned(), &["/sku", "/name", "/price_minor", "/currency"]),
        // No object.
        invalid("null".to_owned(), &[""]),
        invalid("true".to_owned(), &[""]),
        invalid("1".to_owned(), &[""]),
        invalid(r#""{}""#.to_owned(), &[""]),
        invalid("[]".to_owned(), &[""]),
        invalid(r#"["S", "Mug", "", 1, "EUR"]"#.to_owned(), &[""]),
        // Numbers.
        invalid(price("-1"), &["/price_minor"]),
        invalid(price("1.5"), &["/price_minor"]),
        invalid(price("9007199254740992"), &["/price_minor"]),
        invalid(price("9223372036854775808"), &["/price_minor"]),
        invalid(price("-9223372036854775809"), &["/price_minor"]),
        invalid(price("18446744073709551616"), &["/price_minor"]),
        invalid(price("1e30"), &["/price_minor"]),
        invalid(price("-1e300"), &["/price_minor"]),
        invalid(price("1e-5"), &["/price_minor"]),
        malformed(price("1e999").as_bytes()),
        malformed(price("01").as_bytes()),
        malformed(price("+1").as_bytes()),
        malformed(price("NaN").as_bytes()),
        malformed(price("0x1").as_bytes()),
        invalid(price("true"), &["/price_minor"]),
        invalid(price("[1]"), &["/price_minor"]),
        invalid(price("{}"), &["/price_minor"]),
        // Texts.
        invalid(named(r#""a\u0000b""#), &["/name"]),
        invalid(named(r#""\u0007""#), &["/name"]),
        invalid(named(&format!(r#""{}""#, "x".repeat(201))), &["/name"]),
        malformed(named("\"a\u{0}b\"").as_bytes()),
        malformed(named(r#""\ud800""#).as_bytes()),
        malformed(named(r#""\udc00\ud800""#).as_bytes()),
        malformed(named(r#""\x41""#).as_bytes()),
        malformed(b"{\"name\": \"\xff\"}"),
        malformed(b"{\"name\": \"\xed\xa0\x80\"}"),
        malformed(b"{\"\xc0\xaf\": 1}"),
        malformed("\u{feff}{}".as_bytes()),
        // Structure.
        malformed(b""),
        malformed(b"{"),
        malformed(b"{} {}"),
        malformed(b"{'sku': 1}"),
        malformed(br#"{"sku": "S",}"#),
        malformed(br#"{"sku": "S" /* */}"#),
        malformed(deep.as_bytes()),
        malformed("[".repeat(60_000).as_bytes()),
    ];

    let shop = Shop::open().await;
    let merchandiser = caller("m", &["catalogue:write"]);
    let facts = shop.facts().await.len();
    for (body, status, slug, pointers) in rows {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let request = shop.request(&merchandiser, Method::POST, "/v1/products");
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let reply = answer(request).await;
        let said = reply.body["type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (reply.status.as_u16(), said),
            (status, format!("urn:plumbline:problem:{slug}")),
            "{text}"
        );
        assert_eq!(places(&reply), pointers, "{text}");
        assert!(
            reply.body["detail"].is_string() && reply.body["request_id"].is_string(),
            "{text}"
        );
    }
    assert_eq!(shop.facts().await.len(), facts);

    // What looks odd and is right.
    for body in [
        product("odd-1", r#", "price_minor": 1.0"#),
        product("odd-2", r#", "price_minor": 12e2"#),
        product("odd-3", r#", "price_minor": -0"#),
        product(
            "odd-4",
            r#", "price_minor": 1, "description": "\ud83d\ude00 \u00e9 😀\n""#,
        ),
        product("odd-5", r#", "price_minor": 9007199254740991, "quantity": 0"#),
        format!(" \t\r\n{}\n", product("odd-6", r#", "price_minor": 1"#)),
    ] {
        let request = shop.request(&merchandiser, Method::POST, "/v1/products");
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        answer(request).await.expect(StatusCode::CREATED);
    }
}

#[tokio::test]
async fn an_id_has_one_form() {
    let shop = Shop::open().await;
    let everything = caller(
        "ada",
        &["catalogue:write", "orders:read:any", "customers:read:any"],
    );
    for id in [
        "7",
        "0190AAAA-0000-7000-8000-000000000000",
        "0190aaaa000070008000000000000000",
        "%7B0190aaaa-0000-7000-8000-000000000000%7D",
        "urn:uuid:0190aaaa-0000-7000-8000-000000000000",
        "0190aaaa-0000-7000-8000-00000000000",
        "0190aaaa-0000-7000-8000-0000000000000",
        "0190aaaa-0000-7000-8000-00000000000g",
        "0190aaaa-0000-7000-8000-00000000000%C3%A9",
        "%00",
        "%FF",
        "..%2F",
    ] {
        for collection in ["products", "orders", "customers"] {
            let reply = shop.get(&everything, &format!("/v1/{collection}/{id}")).await;
            reply.expect_problem(400, "invalid-path");
        }
    }
    for collection in ["products", "orders", "customers"] {
        let nil = format!("/v1/{collection}/00000000-0000-0000-0000-000000000000");
        shop.get(&everything, &nil).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn another_method_is_told_which_ones_there_are() {
    let shop = Shop::open().await;
    let ada = caller("ada", &[]);
    const ID: &str = "0190aaaa-0000-7000-8000-000000000000";
    let all: BTreeSet<&str> = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"].into();
    for (path, allowed) in [
        ("/v1/products".to_owned(), "GET, POST"),
        (format!("/v1/products/{ID}"), "GET, PATCH"),
        (format!("/v1/products/{ID}/stock-adjustments"), "POST"),
        ("/v1/customers".to_owned(), "POST"),
        (format!("/v1/customers/{ID}"), "GET"),
        ("/v1/orders".to_owned(), "POST"),
        (format!("/v1/orders/{ID}"), "GET"),
        (format!("/v1/orders/{ID}/payment"), "POST"),
    ] {
        let taken: BTreeSet<&str> = allowed.split(", ").collect();
        for method in all.difference(&taken) {
            let method: Method = method.parse().unwrap();
            let reply = answer(shop.request(&ada, method.clone(), &path)).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(reply.header("allow"), allowed, "{method} {path}");
            if method != Method::HEAD {
                reply.expect_problem(405, "method-not-allowed");
            }
        }
    }
}

#[tokio::test]
async fn a_change_is_sent_as_json_too() {
    let shop = Shop::open().await;
    let merchandiser = caller("m", &["catalogue:write"]);
    let path = format!("/v1/products/{}", shop.product(1, serde_json::json!({})).await);
    for (media_type, status) in [
        ("application/merge-patch+json", 415),
        ("application/json-patch+json", 415),
        ("text/json", 415),
        ("application/xml", 415),
        ("application/json; charset=utf-8", 200),
    ] {
        let request = shop.request(&merchandiser, Method::PATCH, &path);
        let request = request.header(header::CONTENT_TYPE, media_type).body("{}");
        assert_eq!(answer(request).await.status.as_u16(), status, "{media_type}");
    }
    // A POST that says everything with its path takes nothing, in whatever words.
    let cashier = caller("cashier", &["payments:record"]);
    let pay = "/v1/orders/0190aaaa-0000-7000-8000-000000000000/payment";
    for (body, status, slug) in [
        ("", 404, "not-found"),
        ("{}", 404, "not-found"),
        (r#"{"amount": 1}"#, 422, "invalid-fields"),
        ("null", 422, "invalid-fields"),
        ("{", 400, "malformed-json"),
    ] {
        let request = shop.request(&cashier, Method::POST, pay);
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        answer(request).await.expect_problem(status, slug);
    }
}
