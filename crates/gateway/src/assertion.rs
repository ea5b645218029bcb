//! The gateway's word on who is calling, for app-service alone.

use http::HeaderValue;
use identity::Minter;
use time::OffsetDateTime;

use crate::auth::Permitted;
use crate::refusal::Refusal;

/// A signed statement about one caller, ready to be sent. It is a credential: `Debug` of the value hides it.
pub(crate) struct Assertion(HeaderValue);

impl Assertion {
    pub(crate) fn into_header(self) -> HeaderValue {
        self.0
    }
}

/// An assertion about `permitted`; there is one for anonymous callers, too.
pub(crate) fn mint(minter: &Minter, permitted: &Permitted) -> Result<Assertion, Refusal> {
    let token = minter
        .mint(permitted.caller(), OffsetDateTime::now_utc().unix_timestamp())
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let mut value = HeaderValue::try_from(token).map_err(|error| Refusal::Internal(error.to_string()))?;
    value.set_sensitive(true);
    Ok(Assertion(value))
}
