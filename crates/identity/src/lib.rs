//! Who is calling: tokens in, a [`Caller`] out.
//!
//! Two kinds of token exist, and neither is ever taken for the other:
//!
//! - an **access token** comes from an issuer outside of the system and is verified by the processes that an operator
//!   or a client talks to ([`Verifier::access_tokens`]);
//! - an **assertion** is minted by the gateway for each request ([`Minter`]) and verified by app-service
//!   ([`Verifier::assertions`]). It names one principal, lives at most a minute, and never leaves the system.
//!
//! They differ in issuer, audience, key and `typ`; each of the four alone keeps them apart.
//! All signatures are Ed25519 ([RFC 8037]); public keys come from a JWK set file ([RFC 7517]) that is re-read when it
//! changes.
//!
//! [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517
//! [RFC 8037]: https://www.rfc-editor.org/rfc/rfc8037

mod args;
mod assertion;
mod caller;
mod keys;
mod recent;
mod verified;
mod verifier;

pub use args::{IssuerArgs, key_set_file};
pub use assertion::{MintError, Minter};
pub use caller::Caller;
pub use keys::KeysError;
pub use verifier::{MAX_TOKEN_BYTES, Rejected, Verifier};

/// The token of an `Authorization` header's value, if its scheme is `Bearer` (in any case, as RFC 9110 has it).
///
/// Whether the token is worth anything is for [`Verifier::verify`] to say; here it is only not empty and without spaces.
pub fn bearer(header_value: &str) -> Option<&str> {
    let (scheme, token) = header_value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}
