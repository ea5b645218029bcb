//! How long entries of a namespace are kept, and what a load may cost.

use std::time::Duration;

/// The knobs of a namespace. `Policy::default()` is right for entities that are read far more often than they change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How long an entry is fresh. Invalidation is what keeps entries right; this bounds what happens without it, and how
    /// often each entry is loaded. 30 s.
    pub soft_ttl: Duration,
    /// The share by which `soft_ttl` varies, so that entries stored together do not expire together. 0.1:
    /// those that a deployment stored in one moment are loaded again over six seconds.
    pub jitter: f64,
    /// How long past `soft_ttl` an entry is still served at once, and refreshed behind the answer. 30 s: long enough that
    /// readers of anything that is read twice a minute never wait.
    pub stale_while_revalidate: Duration,
    /// How long past `soft_ttl` an entry is kept for the case that its source fails. 5 min: a failover of the database,
    /// with its alarm and somebody's coffee.
    pub stale_if_error: Duration,
    /// How long it is remembered that there is no such entry. 5 s: it shields the database from a key that a crawler made
    /// up, and a row that is made without an invalidation is seen soon.
    pub negative_ttl: Duration,
    /// β of XFetch: how eagerly an entry is refreshed before it expires. 1.0, which is optimal when loads take
    /// exponentially distributed times; 0 turns it off.
    pub eagerness: f64,
    /// How long a load may take before it is cancelled. 5 s, which is the longest lease: what took longer could not be stored.
    pub load_limit: Duration,
    /// The budget of requests that do not say theirs by [`Namespace::within`](crate::Namespace::within), and of refreshes behind an
    /// answer. A lease lives at most half of it, so that a reader who waits for a lease whose holder died still has time to load.
    /// 10 s: twice the longest lease, and what a gateway gives a request.
    pub request_budget: Duration,
    /// The largest body that is stored; larger ones are passed through. 1 MiB: one such reply already keeps Redis's one
    /// thread, and everybody's commands behind it, for a millisecond.
    pub largest_body: usize,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            soft_ttl: Duration::from_secs(30),
            jitter: 0.1,
            stale_while_revalidate: Duration::from_secs(30),
            stale_if_error: Duration::from_secs(5 * 60),
            negative_ttl: Duration::from_secs(5),
            eagerness: 1.0,
            load_limit: Duration::from_secs(5),
            request_budget: Duration::from_secs(10),
            largest_body: 1024 * 1024,
        }
    }
}

/// Redis's own limit is 512 MiB; the header has its place too.
const LARGEST_BODY: usize = 511 * 1024 * 1024;
/// A lease shorter than this would end because of a pause of the process rather than of a load.
const SHORTEST_LEASE: Duration = Duration::from_millis(250);
/// The longest lease, and so the longest that a crash of its holder keeps a key from being loaded.
pub(crate) const LONGEST_LEASE: Duration = Duration::from_secs(5);
/// The longest that an entry may exist in Redis, with a margin for clocks: what was committed before that is in no entry. So far a
/// tail has to look back when Redis lost invalidations.
pub const MEMORY: Duration = Duration::from_secs(10 * 60);
const MARGIN: Duration = Duration::from_secs(60);
/// How long a control key lives: longer than any lease, so that it never expires under a populate in flight.
pub(crate) const CONTROL_TTL: Duration = Duration::from_secs(60);

impl Policy {
    /// For pages of ids: what changes them is often not a change of what they list, so they are fresh for 5 s only.
    pub fn pages() -> Policy {
        Policy {
            soft_ttl: Duration::from_secs(5),
            ..Policy::default()
        }
    }

    /// The longest that an entry exists in Redis.
    pub fn hard_ttl(&self) -> Duration {
        self.soft_ttl.mul_f64(1.0 + self.jitter) + self.stale_while_revalidate.max(self.stale_if_error)
    }

    /// What cannot be right, in words that name the field and its limits.
    pub(crate) fn fault(&self) -> Option<String> {
        const MS: Duration = Duration::from_millis(1);
        let times = [
            ("soft_ttl", self.soft_ttl, MS..=MEMORY),
            (
                "stale_while_revalidate",
                self.stale_while_revalidate,
                Duration::ZERO..=MEMORY,
            ),
            ("stale_if_error", self.stale_if_error, Duration::ZERO..=MEMORY),
            ("negative_ttl", self.negative_ttl, MS..=MEMORY - MARGIN),
            // What took longer than a lease is not stored.
            ("load_limit", self.load_limit, MS..=LONGEST_LEASE),
            // With less, the shortest lease would be more than half of it.
            ("request_budget", self.request_budget, SHORTEST_LEASE * 2..=MEMORY),
        ];
        for (field, time, limits) in times {
            if !limits.contains(&time) {
                let (least, most) = limits.into_inner();
                return Some(format!("{field} is {time:?}, and must be {least:?} to {most:?}"));
            }
        }
        for (field, number, most) in [("jitter", self.jitter, 0.9), ("eagerness", self.eagerness, 1e6)] {
            if !(0.0..=most).contains(&number) {
                return Some(format!("{field} is {number}, and must be 0 to {most}"));
            }
        }
        if !(1..=LARGEST_BODY).contains(&self.largest_body) {
            let size = self.largest_body;
            return Some(format!("largest_body is {size}, and must be 1 to {LARGEST_BODY}"));
        }
        let (hard, most) = (self.hard_ttl(), MEMORY - MARGIN);
        (hard > most).then(|| {
            format!(
                "soft_ttl with its jitter, and the longer of stale_while_revalidate and stale_if_error, make {hard:?}, \
                 and must be at most {most:?}: invalidations that Redis lost are applied again no farther back"
            )
        })
    }

    /// `spread` is 0 to 1, at random.
    pub(crate) fn jittered(&self, ttl: Duration, spread: f64) -> Duration {
        ttl.mul_f64(1.0 - self.jitter + 2.0 * self.jitter * spread)
    }
}

/// How long a lease lives that a request with this `budget` takes: four times what all but a hundredth of the loads take, within
/// bounds.
pub(crate) fn lease_ttl(p99_load: Duration, budget: Duration) -> Duration {
    let longest = LONGEST_LEASE.min(budget / 2).max(SHORTEST_LEASE);
    (p99_load * 4).clamp(SHORTEST_LEASE, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_lease_is_long_enough_for_a_slow_load_and_short_enough_for_a_crash() {
        let usual = Policy::default().request_budget;
        for (p99_load, budget, expected) in [
            (MS, usual, 250 * MS),
            (500 * MS, usual, 2000 * MS),
            (3000 * MS, usual, 5000 * MS),
            (3000 * MS, 2000 * MS, 1000 * MS),
            (3000 * MS, Duration::ZERO, 250 * MS),
        ] {
            assert_eq!(lease_ttl(p99_load, budget), expected, "{p99_load:?} {budget:?}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_right_is_refused_by_name() {
        let check = |change: fn(&mut Policy), expected: &str| {
            let mut policy = Policy::default();
            change(&mut policy);
            let fault = policy.fault().unwrap_or_default();
            assert!(fault.starts_with(expected), "{expected}: {fault}");
        };
        for right in [Policy::default(), Policy::pages()] {
            assert_eq!(right.fault(), None);
        }
        check(
            |policy| policy.soft_ttl = Duration::ZERO,
            "soft_ttl is 0ns, and must be 1ms to 600s",
        );
        check(|policy| policy.soft_ttl = Duration::MAX, "soft_ttl is ");
        check(|policy| policy.negative_ttl = Duration::ZERO, "negative_ttl is ");
        check(
            |policy| policy.stale_while_revalidate = Duration::MAX,
            "stale_while_",
        );
        check(
            |policy| policy.stale_if_error = Duration::MAX,
            "stale_if_error is ",
        );
        check(|policy| policy.load_limit = 5001 * MS, "load_limit is ");
        check(|policy| policy.request_budget = 499 * MS, "request_budget is ");
        check(|policy| policy.jitter = 1.0, "jitter is 1, and must be 0 to 0.9");
        check(|policy| policy.eagerness = f64::NAN, "eagerness is NaN");
        check(|policy| policy.eagerness = -1.0, "eagerness is -1");
        check(|policy| policy.largest_body = 0, "largest_body is 0");
        // Each by itself may be so long.
        check(
            |policy| (policy.soft_ttl, policy.stale_if_error) = (200_000 * MS, 330_000 * MS),
            "soft_ttl with its jitter",
        );
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let policy = Policy::default();
        assert_eq!(policy.jittered(1000 * MS, 0.0), 900 * MS);
        assert_eq!(policy.jittered(1000 * MS, 1.0), 1100 * MS);
    }

    #[test]
    fn a_control_key_outlives_every_lease() {
        assert!(CONTROL_TTL > LONGEST_LEASE * 2);
    }
}
