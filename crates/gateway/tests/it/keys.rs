//! Keys from seeds, and tokens of the issuer that the gateway under test trusts.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The fixed beginning of an Ed25519 private key in PKCS#8; the seed follows (RFC 8410).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

pub(crate) struct Key {
    pub(crate) id: &'static str,
    seed: u8,
}

pub(crate) const ISSUER: Key = Key {
    id: "issuer-1",
    seed: 1,
};
pub(crate) const GATEWAY: Key = Key {
    id: "gateway-1",
    seed: 2,
};

impl Key {
    fn private(&self) -> EncodingKey {
        EncodingKey::from_ed_der(&self.der())
    }

    fn der(&self) -> Vec<u8> {
        [PKCS8.as_slice(), &[self.seed; 32]].concat()
    }

    pub(crate) fn pem(&self) -> String {
        let body = STANDARD.encode(self.der());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    /// A key set that holds the public half.
    pub(crate) fn set(&self) -> String {
        let key = Jwk::from_encoding_key(&self.private(), Algorithm::EdDSA).unwrap();
        let mut key = serde_json::to_value(key).unwrap();
        key["kid"] = json!(self.id);
        json!({ "keys": [key] }).to_string()
    }
}

fn claims(sub: &str, scopes: &str, expires_in: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    json!({
        "iss": "plumbline-dev", "aud": "plumbline", "sub": sub, "scope": scopes,
        "iat": now, "exp": now + expires_in,
        "email": format!("{sub}@example.com"), "email_verified": true,
    })
}

fn signed(claims: &Value) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(ISSUER.id.to_owned());
    jsonwebtoken::encode(&header, claims, &ISSUER.private()).unwrap()
}

/// A valid access token.
pub(crate) fn token(sub: &str, scopes: &str) -> String {
    signed(&claims(sub, scopes, 300))
}

pub(crate) fn expired_token(sub: &str) -> String {
    signed(&claims(sub, "", -300))
}
