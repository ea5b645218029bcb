use std::sync::{Mutex, MutexGuard, PoisonError};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::caller::Caller;
use crate::keys::KeysError;
use crate::recent::Recent;
use crate::verifier::MAX_TOKEN_BYTES;

pub(crate) const TYPE: &str = "plumbline-identity+jwt";
pub(crate) const ISSUER: &str = "gateway";
pub(crate) const AUDIENCE: &str = "app-service";
/// How long an assertion is good for at most, in seconds: a request's life, and the clocks' difference.
pub(crate) const LIFETIME_S: i64 = 60;

/// Callers whose last assertion is kept, some 600 bytes each.
const MOST_MINTED: usize = 8_192;

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
    /// Signing, and verifying at the other end, cost more than the rest of a cached read: the same caller gets the same assertion
    /// again for half of its life.
    minted: Mutex<Recent<Caller, Minted>>,
}

struct Minted {
    at: i64,
    token: String,
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
        Ok(Minter {
            key,
            header,
            minted: Mutex::new(Recent::new(MOST_MINTED)),
        })
    }

    /// An assertion about `caller`, made at `now` (Unix seconds) or up to half a minute before. It ends with the caller's own token, and
    /// at most a minute after it was made.
    pub fn mint(&self, caller: &Caller, now: i64) -> Result<String, MintError> {
        let fresh = |minted: &&Minted| (minted.at..minted.at + LIFETIME_S / 2).contains(&now);
        if let Some(minted) = self.minted().find(caller).filter(fresh) {
            return Ok(minted.token.clone());
        }
        let token = self.sign(caller, now)?;
        let minted = Minted {
            at: now,
            token: token.clone(),
        };
        self.minted().keep(caller.clone(), minted);
        Ok(token)
    }

    fn minted(&self) -> MutexGuard<'_, Recent<Caller, Minted>> {
        self.minted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign(&self, caller: &Caller, now: i64) -> Result<String, MintError> {
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
