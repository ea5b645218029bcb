//! Tokens that have been verified already: their callers, for a while.
//!
//! The gateway shows one assertion with each of a caller's requests, and a cached read costs less than a signature.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::caller::Caller;

/// What a token is remembered as. Not the token itself: it is a credential, and up to 8 KiB long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(token: &str) -> Fingerprint {
        Fingerprint(Sha256::digest(token).into())
    }
}

/// A bounded cache in two halves: what is used moves into the younger one, and when that is full, it becomes the older
/// one, and what nobody has asked for since is dropped with the former older one.
pub(crate) struct Verified {
    half: usize,
    halves: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    /// The version of the keys that all entries were verified with.
    generation: u64,
    young: HashMap<Fingerprint, Caller>,
    old: HashMap<Fingerprint, Caller>,
}

impl Verified {
    /// At most `most` entries.
    pub(crate) fn new(most: usize) -> Verified {
        Verified {
            half: (most / 2).max(1),
            halves: Mutex::default(),
        }
    }

    /// The caller whom the token proved with the keys of `generation`, unless the token has ended at `now` (Unix
    /// seconds). Its leeway is not used up here: beyond `exp` the whole verification decides.
    pub(crate) fn find(&self, token: &Fingerprint, generation: u64, now: i64) -> Option<Caller> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.generation != generation {
            return None;
        }
        let caller = match halves.young.get(token) {
            Some(caller) => caller.clone(),
            None => {
                let caller = halves.old.remove(token)?;
                self.put(&mut halves, *token, caller.clone());
                caller
            }
        };
        (now < caller.expires_at).then_some(caller)
    }

    /// Remembers what was verified with the keys of `generation`.
    pub(crate) fn keep(&self, token: Fingerprint, generation: u64, caller: Caller) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if generation < halves.generation {
            // A key that was taken away meanwhile.
            return;
        }
        if generation > halves.generation {
            *halves = Halves {
                generation,
                ..Halves::default()
            };
        }
        self.put(&mut halves, token, caller);
    }

    fn put(&self, halves: &mut Halves, token: Fingerprint, caller: Caller) {
        if halves.young.len() >= self.half && !halves.young.contains_key(&token) {
            halves.old = mem::take(&mut halves.young);
        }
        halves.young.insert(token, caller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(expires_at: i64) -> Caller {
        Caller {
            expires_at,
            ..Caller::anonymous()
        }
    }

    fn size(verified: &Verified) -> usize {
        let halves = verified.halves.lock().unwrap();
        halves.young.len() + halves.old.len()
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

    #[test]
    fn a_flood_of_tokens_is_bounded_and_spares_who_goes_on_calling() {
        let verified = Verified::new(8);
        let regular = Fingerprint::of("regular");
        verified.keep(regular, 0, until(100));
        for n in 0..10_000 {
            verified.keep(Fingerprint::of(&n.to_string()), 0, until(100));
            assert!(size(&verified) <= 8);
            assert!(verified.find(&regular, 0, 0).is_some(), "after {n}");
        }
    }
}
