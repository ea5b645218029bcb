use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::caller::Caller;
use crate::keys::KeysError;
use crate::verifier::MAX_TOKEN_BYTES;

pub(crate) const TYPE: &str = "plumbline-identity+jwt";
pub(crate) const ISSUER: &str = "gateway";
pub(crate) const AUDIENCE: &str = "app-service";
/// How long an assertion is good for at most, in seconds: a request's life, and the clocks' difference.
pub(crate) const LIFETIME_S: i64 = 60;

/// An assertion that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("the assertion would be longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("cannot sign the assertion: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// Signs the gateway's word on who is calling.
pub struct Minter {
    key: EncodingKey,
    header: Header,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    iat: i64,
    exp: i64,
}

impl Minter {
    /// A minter for the Ed25519 private key in `pem` (PKCS#8), which verifiers know as `key_id`.
    pub fn from_pem(pem: &[u8], key_id: &str) -> Result<Minter, KeysError> {
        if key_id.is_empty() {
            return Err(KeysError::Signing("its id is empty".to_owned()));
        }
        let unusable = |_| KeysError::Signing("it is not an Ed25519 key in PKCS#8 PEM".to_owned());
        let key = EncodingKey::from_ed_pem(pem).map_err(unusable)?;
        // The PEM's outer shape is all that has been looked at; only a signature shows that the key works.
        jsonwebtoken::crypto::sign(b"trial", &key, Algorithm::EdDSA).map_err(unusable)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key_id.to_owned());
        Ok(Minter { key, header })
    }

    /// An assertion about `caller`, made at `now` (Unix seconds). It ends with the caller's own token, and at most a
    /// minute from now.
    pub fn mint(&self, caller: &Caller, now: i64) -> Result<String, MintError> {
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: &caller.principal,
            scope: caller.scopes.join(" "),
            email: caller.email.as_deref(),
            iat: now,
            exp: caller.expires_at.min(now + LIFETIME_S),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.key)?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(MintError::TooLong);
        }
        Ok(token)
    }
}
