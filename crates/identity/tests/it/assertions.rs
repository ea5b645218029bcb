use identity::{Caller, IssuerArgs, KeysError, MintError, Minter, Rejected, Verifier};
use serde_json::{Value, json};

use crate::signed::{GATEWAY, ISSUER, KeyFile, now, with};

fn minter() -> Minter {
    Minter::from_pem(GATEWAY.pem().as_bytes(), GATEWAY.id).unwrap()
}

fn verifier(file: &KeyFile) -> Verifier {
    Verifier::assertions(&file.path()).unwrap()
}

fn ada() -> Caller {
    Caller {
        principal: "main:ada".to_owned(),
        scopes: vec!["orders:write".to_owned()],
        email: Some("ada@example.com".to_owned()),
        expires_at: now() + 300,
    }
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "plumbline-identity+jwt", "kid": GATEWAY.id })
}

fn claims() -> Value {
    json!({
        "iss": "gateway", "aud": "app-service", "sub": "main:ada", "scope": "orders:write",
        "iat": now(), "exp": now() + 60,
    })
}

#[test]
fn what_the_gateway_mints_is_what_app_service_reads() {
    let file = KeyFile::of(&[GATEWAY]);
    let minted_at = now();
    for caller in [ada(), Caller::anonymous()] {
        let read = verifier(&file)
            .verify(&minter().mint(&caller, minted_at).unwrap())
            .unwrap();
        assert_eq!(
            *read,
            Caller {
                expires_at: minted_at + 60,
                ..caller
            }
        );
    }
    assert!(Caller::anonymous().is_anonymous());
}

#[test]
fn an_assertion_ends_with_the_token_behind_it() {
    let file = KeyFile::of(&[GATEWAY]);
    let ends = now() + 7;
    let caller = Caller {
        expires_at: ends,
        ..ada()
    };
    let token = minter().mint(&caller, now()).unwrap();
    assert_eq!(verifier(&file).verify(&token).unwrap().expires_at, ends);
}

#[test]
fn a_caller_shows_the_same_assertion_for_half_of_its_life() {
    let (minter, ada, start) = (minter(), ada(), now());
    let first = minter.mint(&ada, start).unwrap();
    assert_eq!(minter.mint(&ada, start + 29).unwrap(), first);
    let second = minter.mint(&ada, start + 30).unwrap();
    assert_ne!(second, first);
    assert_eq!(minter.mint(&ada, start + 59).unwrap(), second);
    // Nobody else gets it, not even Ada with other scopes.
    let fewer = Caller {
        scopes: Vec::new(),
        ..ada
    };
    assert_ne!(minter.mint(&fewer, start + 30).unwrap(), second);
}

#[test]
fn an_assertion_that_does_not_hold_is_rejected_for_its_reason() {
    let claim = |name: &str, value: Value| GATEWAY.sign(&header(), &with(&claims(), name, value));
    let head = |name: &str, value: Value| GATEWAY.sign(&with(&header(), name, value), &claims());
    let rows = [
        ("no typ", head("typ", Value::Null), Rejected::Type),
        (
            "typ of an access token",
            head("typ", json!("JWT")),
            Rejected::Type,
        ),
        (
            "signed by the issuer",
            ISSUER.named(GATEWAY.id).sign(&header(), &claims()),
            Rejected::Signature,
        ),
        (
            "another iss",
            claim("iss", json!("plumbline-dev")),
            Rejected::Issuer,
        ),
        (
            "another aud",
            claim("aud", json!("plumbline")),
            Rejected::Audience,
        ),
        ("expired", claim("exp", json!(now() - 60)), Rejected::Expired),
        (
            "lives too long",
            claim("exp", json!(now() + 3600)),
            Rejected::LivesTooLong,
        ),
        (
            "no iat",
            claim("iat", Value::Null),
            Rejected::Missing("iat".to_owned()),
        ),
        ("no source", claim("sub", json!("ada")), Rejected::Subject),
        (
            "the system as source",
            claim("sub", json!("system:expiry")),
            Rejected::Subject,
        ),
        ("no id", claim("sub", json!("main:")), Rejected::Subject),
    ];
    let file = KeyFile::of(&[GATEWAY]);
    for (what, token, reason) in rows {
        assert_eq!(verifier(&file).verify(&token), Err(reason), "{what}");
    }
}

/// Both verifiers know both keys here, so that it is the kind of token alone that decides.
#[test]
fn neither_kind_of_token_is_taken_for_the_other() {
    let file = KeyFile::of(&[ISSUER, GATEWAY]);
    let issuer = IssuerArgs {
        jwks_file: file.path(),
        jwt_issuer: "gateway".to_owned(),
    };
    let access = Verifier::access_tokens(&issuer, "main", "app-service").unwrap();
    let assertion = minter().mint(&ada(), now()).unwrap();
    assert_eq!(access.verify(&assertion), Err(Rejected::Type));

    let token = ISSUER.sign(&json!({ "alg": "EdDSA", "kid": ISSUER.id }), &claims());
    assert!(access.verify(&token).is_ok());
    assert_eq!(verifier(&file).verify(&token), Err(Rejected::Type));
}

#[test]
fn an_assertion_longer_than_a_verifier_reads_is_not_minted() {
    let caller = Caller {
        scopes: vec!["x".repeat(8000)],
        ..ada()
    };
    assert!(matches!(minter().mint(&caller, now()), Err(MintError::TooLong)));
}

#[test]
fn a_key_that_cannot_sign_is_refused_at_once() {
    let pem = GATEWAY.pem();
    let short = pem.replace("AgIC", "");
    for (pem, id) in [
        ("", "k"),
        (short.as_str(), "k"),
        ("garbage", "k"),
        (pem.as_str(), ""),
    ] {
        let refused = Minter::from_pem(pem.as_bytes(), id);
        assert!(matches!(refused, Err(KeysError::Signing(_))), "{pem} {id}");
    }
}
