//! The gateway's word on who is calling: nothing is answered without it, nor with one that is not quite right.

use identity::Caller;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::shop::{PRIVATE, Shop, answer, shopper};

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
