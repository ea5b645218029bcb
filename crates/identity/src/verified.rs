//! Tokens that have been verified already: their callers, for a while.
//!
//! The gateway shows the same assertion for some time, and a cached read costs less than a signature.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::caller::Caller;
use crate::recent::Recent;

/// What a token is remembered as. Not the token itself: it is a credential, and up to 8 KiB long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(token: &str) -> Fingerprint {
        Fingerprint(Sha256::digest(token).into())
    }
}

/// Bounded; all entries were verified with one version of the keys.
pub(crate) struct Verified {
    inner: Mutex<Inner>,
}

struct Inner {
    generation: u64,
    callers: Recent<Fingerprint, Arc<Caller>>,
}

impl Verified {
    /// At most `most` entries.
    pub(crate) fn new(most: usize) -> Verified {
        Verified {
            inner: Mutex::new(Inner {
                generation: 0,
                callers: Recent::new(most),
            }),
        }
    }

    /// The caller whom the token proved with the keys of `generation`, unless the token has ended at `now` (Unix
    /// seconds). Its leeway is not used up here: beyond `exp` the whole verification decides.
    pub(crate) fn find(&self, token: &Fingerprint, generation: u64, now: i64) -> Option<Arc<Caller>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.generation != generation {
            return None;
        }
        inner
            .callers
            .find(token)
            .filter(|caller| now < caller.expires_at)
            .cloned()
    }

    /// Remembers what was verified with the keys of `generation`.
    pub(crate) fn keep(&self, token: Fingerprint, generation: u64, caller: Arc<Caller>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if generation < inner.generation {
            // A key that was taken away meanwhile.
            return;
        }
        if generation > inner.generation {
            inner.generation = generation;
            inner.callers.clear();
        }
        inner.callers.keep(token, caller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(expires_at: i64) -> Arc<Caller> {
        Arc::new(Caller {
            expires_at,
            ..Caller::anonymous()
        })
    }

    fn size(verified: &Verified) -> usize {
        verified.inner.lock().unwrap().callers.len()
    }

    #[test]
    fn a_caller_is_remembered_until_the_token_ends() {
        let verified = Verified::new(4);
        let token = Fingerprint::of("token");
        assert_eq!(verified.find(&token, 0, 0), None);
        verified.keep(token, 0, until(100));
        assert_eq!(verified.find(&token, 0, 99), Some(until(100)));
        assert_eq!(verified.find(&token, 0, 100), None);
        assert_eq!(verified.find(&Fingerprint::of("other"), 0, 99), None);
    }

    #[test]
    fn other_keys_forget_everything_and_older_ones_add_nothing() {
        let verified = Verified::new(4);
        let token = Fingerprint::of("token");
        verified.keep(token, 1, until(100));
        assert_eq!(verified.find(&token, 2, 0), None);
        verified.keep(Fingerprint::of("newer"), 2, until(100));
        // Verified before the keys changed, and kept only now.
        verified.keep(token, 1, until(100));
        assert_eq!(verified.find(&token, 2, 0), None);
        assert_eq!(size(&verified), 1);
    }
}
