//! Who is calling, and whether the route is open to them.

use std::sync::Arc;

use http::header;
use identity::{Caller, Rejected, Verifier, bearer};

use crate::limits::{Admitted, Counted};
use crate::refusal::Refusal;
use crate::routes::{Auth, Route};
use crate::sanity::Sane;

/// A caller who is counted and holds the scopes that the route asks for. Only [`permit`] makes one.
pub(crate) struct Permitted {
    caller: Arc<Caller>,
}

impl Permitted {
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// The caller that the request's token proves. A token that is sent is verified on every route, so that a client learns
/// of a bad one, and app-service can show more to a privileged caller of an anonymous route.
///
/// It takes the address's admission, because a verification costs more than most requests do.
pub(crate) fn authenticate(
    verifier: &Verifier,
    route: &Route,
    head: &Sane,
    _: Admitted,
) -> Result<Arc<Caller>, Refusal> {
    match head.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().map_err(|_| Rejected::Malformed)?;
            Ok(verifier.verify(bearer(value).ok_or(Rejected::Malformed)?)?)
        }
        None if route.auth == Auth::Anonymous => Ok(Arc::new(Caller::anonymous())),
        None => Err(Refusal::TokenMissing),
    }
}

pub(crate) fn permit(route: &Route, counted: Counted) -> Result<Permitted, Refusal> {
    let caller = counted.into_caller();
    let required = match &route.auth {
        Auth::Anonymous => &[],
        Auth::Token { scopes } => scopes.as_slice(),
    };
    match required.iter().find(|scope| !caller.has(scope)) {
        Some(missing) => Err(Refusal::ScopeMissing(missing.clone())),
        None => Ok(Permitted { caller }),
    }
}
