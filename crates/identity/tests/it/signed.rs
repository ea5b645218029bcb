//! Keys from seeds, key set files of them, and tokens with any header and claims.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The fixed beginning of an Ed25519 private key in PKCS#8; the seed follows (RFC 8410).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An Ed25519 key that the tests may show to everybody.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) id: &'static str,
    seed: u8,
}

/// The outside issuer's key.
pub(crate) const ISSUER: Key = Key {
    id: "issuer-1",
    seed: 1,
};
/// The gateway's key.
pub(crate) const GATEWAY: Key = Key {
    id: "gateway-1",
    seed: 2,
};

impl Key {
    pub(crate) const fn named(self, id: &'static str) -> Key {
        Key { id, ..self }
    }

    fn der(self) -> Vec<u8> {
        [PKCS8.as_slice(), &[self.seed; 32]].concat()
    }

    pub(crate) fn pem(self) -> String {
        let body = STANDARD.encode(self.der());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    pub(crate) fn public(self) -> Value {
        let private = EncodingKey::from_ed_der(&self.der());
        let mut key =
            serde_json::to_value(Jwk::from_encoding_key(&private, Algorithm::EdDSA).unwrap()).unwrap();
        key["kid"] = json!(self.id);
        key
    }

    /// A token with just this header and these claims.
    pub(crate) fn sign(self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let key = EncodingKey::from_ed_der(&self.der());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    }

    /// The classic forgery: an HMAC whose secret is this key's public half.
    pub(crate) fn sign_with_public_half(self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let public = URL_SAFE_NO_PAD
            .decode(self.public()["x"].as_str().unwrap())
            .unwrap();
        let signature = jsonwebtoken::crypto::sign(
            message.as_bytes(),
            &EncodingKey::from_secret(&public),
            Algorithm::HS256,
        )
        .unwrap();
        format!("{message}.{signature}")
    }
}

/// A token's first two parts.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// `base` with one member replaced; `null` takes it away.
pub(crate) fn with(base: &Value, member: &str, value: Value) -> Value {
    let mut changed = base.clone();
    let members = changed.as_object_mut().unwrap();
    match value {
        Value::Null => members.remove(member),
        value => members.insert(member.to_owned(), value),
    };
    changed
}

pub(crate) fn now() -> i64 {
    jsonwebtoken::get_current_timestamp() as i64
}

/// A key set file in a folder of its own, which goes when this goes.
pub(crate) struct KeyFile {
    folder: TempDir,
}

impl KeyFile {
    pub(crate) fn of(keys: &[Key]) -> KeyFile {
        let file = KeyFile {
            folder: TempDir::new().unwrap(),
        };
        file.replace(keys);
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    pub(crate) fn replace(&self, keys: &[Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        write(&self.path(), &json!({ "keys": keys }).to_string());
    }
}

fn write(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
}
