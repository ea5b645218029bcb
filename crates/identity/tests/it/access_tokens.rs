use identity::{Caller, IssuerArgs, KeysError, Rejected, Verifier, bearer};
use serde_json::{Value, json};

use crate::signed::{GATEWAY, ISSUER, KeyFile, now, unsigned, with};

fn verifier(file: &KeyFile) -> Verifier {
    let issuer = IssuerArgs {
        jwks_file: file.path(),
        jwt_issuer: "plumbline-dev".to_owned(),
    };
    Verifier::access_tokens(&issuer, "main", "plumbline").unwrap()
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "JWT", "kid": ISSUER.id })
}

fn claims() -> Value {
    json!({
        "iss": "plumbline-dev",
        "aud": ["plumbline", "audit-consumer"],
        "sub": "ada",
        "iat": now(),
        "exp": now() + 300,
        "scope": "orders:write  analytics:read",
        "email": "ada@example.com",
        "email_verified": true,
    })
}

#[test]
fn a_token_that_holds_proves_its_caller() {
    let file = KeyFile::of(&[ISSUER]);
    let claims = claims();
    let caller = verifier(&file).verify(&ISSUER.sign(&header(), &claims)).unwrap();
    assert_eq!(
        *caller,
        Caller {
            principal: "main:ada".to_owned(),
            scopes: vec!["orders:write".to_owned(), "analytics:read".to_owned()],
            email: Some("ada@example.com".to_owned()),
            expires_at: claims["exp"].as_i64().unwrap(),
        }
    );
    assert!(caller.has("orders:write") && !caller.has("orders"));
    assert!(!caller.is_anonymous());
}

#[test]
fn what_an_issuer_may_vary_is_accepted() {
    let file = KeyFile::of(&[ISSUER]);
    let verifier = verifier(&file);
    let rows = [
        (header(), with(&claims(), "aud", json!("plumbline"))),
        (header(), with(&claims(), "exp", json!(now() as f64 + 9.5))),
        (header(), with(&claims(), "exp", json!(now() - 20))),
        (header(), with(&claims(), "iat", Value::Null)),
        (header(), with(&claims(), "iat", json!(now() + 20))),
        (header(), with(&claims(), "nbf", json!(now() + 20))),
        (header(), with(&claims(), "sub", json!("!".repeat(200)))),
        (header(), with(&claims(), "scope", Value::Null)),
        (with(&header(), "typ", json!("at+jwt")), claims()),
        (with(&header(), "typ", Value::Null), claims()),
        (
            with(&header(), "jku", json!("https://elsewhere.example/")),
            claims(),
        ),
    ];
    for (header, claims) in rows {
        let verdict = verifier.verify(&ISSUER.sign(&header, &claims));
        assert!(verdict.is_ok(), "{header} {claims}: {verdict:?}");
    }
}

#[test]
fn an_email_that_the_issuer_has_not_verified_is_dropped() {
    let file = KeyFile::of(&[ISSUER]);
    for unverified in [json!(false), json!("true"), json!(1), Value::Null] {
        let claims = with(&claims(), "email_verified", unverified);
        let caller = verifier(&file).verify(&ISSUER.sign(&header(), &claims)).unwrap();
        assert_eq!(caller.email, None, "{claims}");
    }
}

#[test]
fn a_token_that_does_not_hold_is_rejected_for_its_reason() {
    let missing = |claim: &str| Rejected::Missing(claim.to_owned());
    let claim = |name: &str, value: Value| ISSUER.sign(&header(), &with(&claims(), name, value));
    let head = |name: &str, value: Value| ISSUER.sign(&with(&header(), name, value), &claims());
    let good = ISSUER.sign(&header(), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let richer = with(&claims(), "scope", json!("audit:raw"));
    let rows: Vec<(&str, String, Rejected)> = vec![
        ("nothing", String::new(), Rejected::Malformed),
        ("garbage", "a.b.c".to_owned(), Rejected::Malformed),
        ("two dots", "..".to_owned(), Rejected::Malformed),
        ("two parts", message.to_owned(), Rejected::Malformed),
        ("four parts", format!("{good}.x"), Rejected::Malformed),
        ("padding", format!("{good}="), Rejected::Malformed),
        (
            "too long",
            claim("pad", json!("x".repeat(8192))),
            Rejected::TooLong,
        ),
        ("no signature", format!("{message}."), Rejected::Signature),
        (
            "another payload",
            format!("{}.{signature}", unsigned(&header(), &richer)),
            Rejected::Signature,
        ),
        (
            "another key, this kid",
            GATEWAY.named(ISSUER.id).sign(&header(), &claims()),
            Rejected::Signature,
        ),
        (
            "alg none",
            format!("{}.", unsigned(&with(&header(), "alg", json!("none")), &claims())),
            Rejected::Malformed,
        ),
        (
            "alg HS256, public half as secret",
            ISSUER.sign_with_public_half(&with(&header(), "alg", json!("HS256")), &claims()),
            Rejected::Algorithm,
        ),
        ("alg RS256", head("alg", json!("RS256")), Rejected::Algorithm),
        ("no kid", head("kid", Value::Null), Rejected::NoKey),
        (
            "unknown kid",
            head("kid", json!("issuer-2")),
            Rejected::UnknownKey,
        ),
        ("crit", head("crit", json!(["b64"])), Rejected::Critical),
        ("empty crit", head("crit", json!([])), Rejected::Critical),
        (
            "typ of an assertion",
            head("typ", json!("plumbline-identity+jwt")),
            Rejected::Type,
        ),
        (
            "typ of an assertion, otherwise written",
            head("typ", json!("application/Plumbline-Identity+JWT")),
            Rejected::Type,
        ),
        ("no exp", claim("exp", Value::Null), missing("exp")),
        (
            "exp as text",
            claim("exp", json!("tomorrow")),
            Rejected::Malformed,
        ),
        ("expired", claim("exp", json!(now() - 60)), Rejected::Expired),
        ("nbf ahead", claim("nbf", json!(now() + 60)), Rejected::NotYet),
        ("nbf as text", claim("nbf", json!("now")), missing("nbf")),
        ("iat ahead", claim("iat", json!(now() + 60)), Rejected::NotYet),
        ("no iss", claim("iss", Value::Null), missing("iss")),
        ("another iss", claim("iss", json!("gateway")), Rejected::Issuer),
        (
            "a list of iss",
            claim("iss", json!(["plumbline-dev"])),
            Rejected::Malformed,
        ),
        ("no aud", claim("aud", Value::Null), missing("aud")),
        (
            "another aud",
            claim("aud", json!("app-service")),
            Rejected::Audience,
        ),
        ("no aud in the list", claim("aud", json!([])), Rejected::Audience),
        ("no sub", claim("sub", Value::Null), missing("sub")),
        ("empty sub", claim("sub", json!("")), Rejected::Subject),
        (
            "long sub",
            claim("sub", json!("x".repeat(201))),
            Rejected::Subject,
        ),
        ("sub with a space", claim("sub", json!("a b")), Rejected::Subject),
        ("sub beyond ASCII", claim("sub", json!("adä")), Rejected::Subject),
        (
            "sub with a line end",
            claim("sub", json!("a\nb")),
            Rejected::Subject,
        ),
        (
            "scope as a list",
            claim("scope", json!(["orders:write"])),
            Rejected::Malformed,
        ),
    ];
    let file = KeyFile::of(&[ISSUER]);
    let verifier = verifier(&file);
    for (what, token, reason) in rows {
        assert_eq!(verifier.verify(&token), Err(reason), "{what}");
    }
}

#[test]
fn a_source_that_could_pass_for_an_actor_of_the_system_is_refused() {
    let file = KeyFile::of(&[ISSUER]);
    let issuer = IssuerArgs {
        jwks_file: file.path(),
        jwt_issuer: "plumbline-dev".to_owned(),
    };
    for source in [
        "",
        "system",
        "anonymous",
        "Main",
        "1st",
        "a:b",
        "a-name-of-17-bytes",
    ] {
        let refused = Verifier::access_tokens(&issuer, source, "plumbline");
        assert!(matches!(refused, Err(KeysError::Source(_))), "{source}");
    }
}

#[test]
fn bearer_finds_the_token() {
    let rows = [
        ("Bearer a.b.c", Some("a.b.c")),
        ("bearer   a.b.c", Some("a.b.c")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Basic YTpi", None),
        ("Bearera.b.c", None),
    ];
    for (value, token) in rows {
        assert_eq!(bearer(value), token, "{value}");
    }
}
