//! Access tokens of an issuer that this process trusts.

use identity::{IssuerArgs, Verifier};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tempfile::TempDir;

/// An Ed25519 private key in PKCS#8 (RFC 8410): a fixed beginning, then the seed.
const BEGINNING: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

pub(crate) struct Issuer {
    key: EncodingKey,
    folder: TempDir,
}

impl Issuer {
    pub(crate) fn new() -> Issuer {
        let key = EncodingKey::from_ed_der(&[BEGINNING.as_slice(), &[7; 32]].concat());
        let mut public =
            serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap()).unwrap();
        public["kid"] = json!("k1");
        let folder = TempDir::new().unwrap();
        std::fs::write(
            folder.path().join("jwks.json"),
            json!({ "keys": [public] }).to_string(),
        )
        .unwrap();
        Issuer { key, folder }
    }

    pub(crate) fn verifier(&self, audience: &str) -> Verifier {
        let args = IssuerArgs {
            jwks_file: self.folder.path().join("jwks.json"),
            jwt_issuer: "test-issuer".to_owned(),
        };
        Verifier::access_tokens(&args, "main", audience).unwrap()
    }

    /// An `Authorization` header's value for the operator `ops`.
    pub(crate) fn bearer(&self, audience: &str, scope: &str) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("k1".to_owned());
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "iss": "test-issuer", "aud": audience, "sub": "ops", "iat": now, "exp": now + 300, "scope": scope,
        });
        format!(
            "Bearer {}",
            jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
        )
    }
}
