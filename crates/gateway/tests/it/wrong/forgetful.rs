use std::collections::VecDeque;
use std::time::Duration;

use gateway::limit::{Limiter, Quota};

/// Makes room by forgetting whoever came first, as a cache would: a flood buys a fresh start.
pub(crate) struct Forgetful {
    quota: Quota,
    most: usize,
    keys: VecDeque<(String, Limiter)>,
}

impl Forgetful {
    pub(crate) fn new(quota: Quota, most: usize) -> Forgetful {
        Forgetful {
            quota,
            most,
            keys: VecDeque::new(),
        }
    }

    pub(crate) fn admit(&mut self, key: &str, now: Duration) -> bool {
        let known = self.keys.iter().position(|(known, _)| known == key);
        let at = known.unwrap_or_else(|| {
            if self.keys.len() == self.most {
                self.keys.pop_front();
            }
            self.keys
                .push_back((key.to_owned(), Limiter::new(self.quota, 16)));
            self.keys.len() - 1
        });
        self.keys[at].1.admit_at(key, now).is_ok()
    }
}
