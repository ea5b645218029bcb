use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, get_current_timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::IssuerArgs;
use crate::assertion;
use crate::caller::{Caller, is_id, is_principal, is_source};
use crate::keys::{Current, Keys, KeysError};
use crate::verified::{Fingerprint, Verified};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The most tokens that are remembered, some 500 bytes each and never more than they are long.
const MOST_VERIFIED: usize = 4_096;

/// How far the clocks of two machines may differ, in seconds.
const LEEWAY_S: u64 = 30;

/// Why a token was not believed. The text is for an operator; a client learns only that its token is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is not signed with EdDSA")]
    Algorithm,
    #[error("the token's `typ` is that of another kind of token")]
    Type,
    #[error("the token has critical extensions, and none is known")]
    Critical,
    #[error("the token names no key")]
    NoKey,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the signature is not the key's")]
    Signature,
    #[error("the token has no usable `{0}`")]
    Missing(String),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token lives longer than an assertion may")]
    LivesTooLong,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's `sub` cannot be a principal")]
    Subject,
}

/// Verifies tokens of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    verified: Verified,
    validation: Validation,
    kind: Kind,
}

enum Kind {
    Access { source: String },
    Assertion,
}

/// What is read beside the library's own validation of `exp`, `nbf`, `iss` and `aud`.
#[derive(Deserialize)]
struct Claims {
    /// Here for its type alone: the library would take a list of issuers, RFC 7519 knows none.
    #[serde(rename = "iss")]
    _issuer: Option<String>,
    sub: Option<String>,
    /// Unix seconds, which RFC 7519 lets have a fraction.
    exp: Option<f64>,
    iat: Option<f64>,
    #[serde(default)]
    scope: String,
    email: Option<String>,
    /// Some issuers send a string here. Only `true` itself counts.
    #[serde(default)]
    email_verified: Value,
}

impl Verifier {
    /// Verifies access tokens of `issuer` for `audience`; a principal is `<source>:<sub>`.
    ///
    /// Fails when the key set cannot be used or `source` cannot start a principal.
    pub fn access_tokens(issuer: &IssuerArgs, source: &str, audience: &str) -> Result<Verifier, KeysError> {
        if !is_source(source) {
            return Err(KeysError::Source(source.to_owned()));
        }
        Verifier::new(
            &issuer.jwks_file,
            &issuer.jwt_issuer,
            audience,
            Kind::Access {
                source: source.to_owned(),
            },
        )
    }

    /// Verifies the gateway's assertions to app-service; a principal is the `sub` as it stands.
    ///
    /// Fails when the key set cannot be used.
    pub fn assertions(jwks_file: &Path) -> Result<Verifier, KeysError> {
        Verifier::new(jwks_file, assertion::ISSUER, assertion::AUDIENCE, Kind::Assertion)
    }

    fn new(jwks_file: &Path, issuer: &str, audience: &str, kind: Kind) -> Result<Verifier, KeysError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Verifier {
            inner: Arc::new(Inner {
                keys: Keys::open(jwks_file)?,
                verified: Verified::new(MOST_VERIFIED),
                validation,
                kind,
            }),
        })
    }

    /// The caller whom `token` proves: one Ed25519 verification, some 40 µs, the first time, and a look-up after that,
    /// until the token ends or the keys change. It is shared with the next who shows that token.
    pub fn verify(&self, token: &str) -> Result<Arc<Caller>, Rejected> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejected::TooLong);
        }
        let keys = self.inner.keys.current();
        let fingerprint = Fingerprint::of(token);
        let now = i64::try_from(get_current_timestamp()).unwrap_or(i64::MAX);
        if let Some(caller) = self.inner.verified.find(&fingerprint, keys.generation(), now) {
            return Ok(caller);
        }
        let caller = Arc::new(self.verify_anew(token, &keys)?);
        self.inner
            .verified
            .keep(fingerprint, keys.generation(), Arc::clone(&caller));
        Ok(caller)
    }

    fn verify_anew(&self, token: &str, keys: &Current) -> Result<Caller, Rejected> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::Malformed)?;
        let kid = self.inner.check_header(&header)?;
        let key = keys.find(kid).ok_or(Rejected::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.inner.validation)
            .map_err(|error| rejection(error.into_kind()))?
            .claims;
        let expires_at = claims.exp.ok_or_else(|| missing("exp"))?;
        self.inner.check_issued_at(claims.iat, expires_at)?;
        self.inner.caller(claims, expires_at as i64)
    }
}

impl Inner {
    /// The id of the key to verify with. Nothing else in the header is followed: not `jwk`, not `jku`, not `x5u`.
    fn check_header<'h>(&self, header: &'h Header) -> Result<&'h str, Rejected> {
        if header.alg != Algorithm::EdDSA {
            return Err(Rejected::Algorithm);
        }
        let is_assertion = header.typ.as_deref() == Some(assertion::TYPE);
        let looks_like_one = header
            .typ
            .as_ref()
            .is_some_and(|typ| typ.to_ascii_lowercase().ends_with(assertion::TYPE));
        match self.kind {
            Kind::Assertion if !is_assertion => return Err(Rejected::Type),
            Kind::Access { .. } if looks_like_one => return Err(Rejected::Type),
            _ => {}
        }
        if header.crit.is_some() {
            return Err(Rejected::Critical);
        }
        header.kid.as_deref().ok_or(Rejected::NoKey)
    }

    fn check_issued_at(&self, issued_at: Option<f64>, expires_at: f64) -> Result<(), Rejected> {
        let latest = (get_current_timestamp() + LEEWAY_S) as f64;
        if issued_at.is_some_and(|at| at > latest) {
            return Err(Rejected::NotYet);
        }
        if let Kind::Assertion = self.kind {
            let issued_at = issued_at.ok_or_else(|| missing("iat"))?;
            if expires_at - issued_at > assertion::LIFETIME_S as f64 {
                return Err(Rejected::LivesTooLong);
            }
        }
        Ok(())
    }

    fn caller(&self, claims: Claims, expires_at: i64) -> Result<Caller, Rejected> {
        let sub = claims.sub.ok_or_else(|| missing("sub"))?;
        let (principal, email) = match &self.kind {
            Kind::Access { source } if is_id(&sub) => {
                let verified = claims.email_verified == Value::Bool(true);
                (format!("{source}:{sub}"), claims.email.filter(|_| verified))
            }
            Kind::Assertion if is_principal(&sub) => (sub, claims.email),
            _ => return Err(Rejected::Subject),
        };
        let scopes = claims.scope.split_ascii_whitespace();
        Ok(Caller {
            principal,
            scopes: scopes.map(str::to_owned).collect(),
            email,
            expires_at,
        })
    }
}

fn missing(claim: &str) -> Rejected {
    Rejected::Missing(claim.to_owned())
}

fn rejection(error: ErrorKind) -> Rejected {
    match error {
        ErrorKind::InvalidSignature => Rejected::Signature,
        ErrorKind::InvalidAlgorithm => Rejected::Algorithm,
        ErrorKind::ExpiredSignature => Rejected::Expired,
        ErrorKind::ImmatureSignature => Rejected::NotYet,
        ErrorKind::InvalidIssuer => Rejected::Issuer,
        ErrorKind::InvalidAudience => Rejected::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            Rejected::Missing(claim)
        }
        _ => Rejected::Malformed,
    }
}
