//! Whether an entry that was found will do.

use std::time::Duration;

use crate::entry::{Content, Stored};
use crate::namespace::{Inner, Source};

/// How far, in ms, the clocks of a cluster's nodes may differ. An entry from farther in the future was stored before Redis's clock was
/// set back: nobody knows how old it is.
const FUTURE: u64 = 10_000;

/// What to do with an entry that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fresh,
    /// Answer, and refresh behind: soon it will be stale.
    Early,
    /// Answer, and refresh behind.
    Stale,
    /// Reload first; answer with it only if that fails.
    Expired,
}

impl<S: Source> Inner<S> {
    pub(crate) fn judge(&self, stored: &Stored, now: u64) -> Verdict {
        if stored.loaded_at > now.saturating_add(FUTURE) {
            return Verdict::Expired;
        }
        let age = Duration::from_millis(now.saturating_sub(stored.loaded_at));
        if !self.core.watermark.covers(age) {
            return Verdict::Expired;
        }
        if now >= stored.soft_expiry {
            let late = Duration::from_millis(now - stored.soft_expiry);
            let absent = stored.content == Content::Absent;
            return if absent || late >= self.policy.stale_while_revalidate {
                Verdict::Expired
            } else {
                Verdict::Stale
            };
        }
        let left = Duration::from_millis(stored.soft_expiry - now);
        let gap = stored.cost.mul_f64(self.policy.eagerness);
        // -ln u of the smallest u that is drawn is below 37: mostly no dice have to be thrown.
        if left < gap * 37 && left <= gap.mul_f64(early()) {
            Verdict::Early
        } else {
            Verdict::Fresh
        }
    }
}

/// -ln u, u uniform in (0, 1]: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015.
fn early() -> f64 {
    let u: f64 = rand::random();
    -(1.0 - u).ln()
}
