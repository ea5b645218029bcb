//! The development issuer: Ed25519 keys made once per state folder, and tokens signed with them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The issuer of development tokens.
pub(crate) const ISSUER: &str = "plumbline-dev";

/// How long a token is good: a working day.
const LIFETIME_S: i64 = 12 * 60 * 60;

/// The issuer's key and the one with which the gateway signs its assertions.
#[derive(Debug)]
pub struct Keys {
    issuer: SigningKey,
    assertion: SigningKey,
    dir: PathBuf,
}

/// Whom a token is for and what it allows.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The subject; the gateway's principal is `main:<sub>`.
    pub sub: &'a str,
    /// Separated by spaces.
    pub scopes: &'a str,
    /// A verified address. Without one, the token has no email claim.
    pub email: Option<&'a str>,
}

impl Keys {
    /// Reads the keys in `dir`, and makes them and their public sets when they are missing.
    pub fn open(dir: &Path) -> anyhow::Result<Keys> {
        crate::files::make_dir(dir)?;
        let keys = Keys {
            issuer: key(&dir.join("issuer.pem"))?,
            assertion: key(&dir.join("assertion.pem"))?,
            dir: dir.to_owned(),
        };
        publish(&keys.jwks_file(), &jwks(&keys.issuer).to_string())?;
        publish(&keys.assertion_jwks_file(), &jwks(&keys.assertion).to_string())?;
        // The Compose file's gateway reads it; elsewhere the variable is set with the others.
        let environment = format!("ASSERTION_KEY_ID={}\n", keys.assertion_key_id());
        publish(&keys.dir.join("gateway.env"), &environment)?;
        Ok(keys)
    }

    /// A signed access token for the gateway and the consumers' pages in `audiences`, good for 12 hours.
    pub fn token(&self, grant: Grant<'_>, audiences: &[&str]) -> String {
        self.token_at(grant, audiences, OffsetDateTime::now_utc().unix_timestamp())
    }

    fn token_at(&self, grant: Grant<'_>, audiences: &[&str], now: i64) -> String {
        let mut claims = json!({
            "iss": ISSUER,
            "aud": audiences,
            "sub": grant.sub,
            "iat": now,
            "exp": now + LIFETIME_S,
            "scope": grant.scopes,
        });
        if let Some(email) = grant.email {
            claims["email"] = json!(email);
            claims["email_verified"] = json!(true);
        }
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key_id(&self.issuer) });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.issuer.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The issuer's public key set.
    pub(crate) fn jwks_file(&self) -> PathBuf {
        self.dir.join("jwks.json")
    }

    /// The public key set of the gateway's assertions.
    pub(crate) fn assertion_jwks_file(&self) -> PathBuf {
        self.dir.join("assertion-jwks.json")
    }

    /// The private key of the gateway's assertions.
    pub(crate) fn assertion_key_file(&self) -> PathBuf {
        self.dir.join("assertion.pem")
    }

    pub(crate) fn assertion_key_id(&self) -> String {
        key_id(&self.assertion)
    }
}

/// Reads a PKCS#8 PEM, or makes one with mode 0600.
fn key(path: &Path) -> anyhow::Result<SigningKey> {
    if path.exists() {
        let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD
            .decode(text)
            .with_context(|| format!("{} is not a PEM file", path.display()))?;
        return SigningKey::from_pkcs8_der(&der)
            .with_context(|| format!("{} is not an Ed25519 key", path.display()));
    }
    let key = SigningKey::from_bytes(&rand::random());
    let der = key.to_pkcs8_der().context("cannot encode a key")?;
    let text = STANDARD.encode(der.as_bytes());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    crate::files::write_private(path, pem.as_bytes())?;
    Ok(key)
}

/// Writes what follows from a key, unless it is there already.
fn publish(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    crate::files::write_private(path, text.as_bytes())
}

/// Says which key it is; derived from the key, so that it changes with it.
fn key_id(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(&key.verifying_key().as_bytes()[..12])
}

/// RFC 8037.
fn jwks(key: &SigningKey) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key_id(key), "x": x }] })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

    use super::*;

    fn part(text: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn a_token_verifies_with_the_published_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path()).unwrap();
        let grant = Grant {
            sub: "alice",
            scopes: "a b",
            email: Some("alice@example.com"),
        };
        let token = keys.token_at(grant, &["plumbline"], 1_000);
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();

        let published: Value = serde_json::from_slice(&std::fs::read(keys.jwks_file()).unwrap()).unwrap();
        let published = &published["keys"][0];
        assert_eq!(part(header)["kid"], published["kid"]);
        let x = URL_SAFE_NO_PAD.decode(published["x"].as_str().unwrap()).unwrap();
        let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        key.verify(format!("{header}.{claims}").as_bytes(), &signature)
            .unwrap();

        let expected = json!({
            "iss": "plumbline-dev", "aud": ["plumbline"], "sub": "alice", "iat": 1_000, "exp": 1_000 + 43_200,
            "scope": "a b", "email": "alice@example.com", "email_verified": true,
        });
        assert_eq!(part(claims), expected);
    }

    #[test]
    fn keys_are_kept_and_differ() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::open(dir.path()).unwrap();
        let again = Keys::open(dir.path()).unwrap();
        assert_eq!(first.issuer, again.issuer);
        assert_ne!(first.issuer, first.assertion);
    }
}
