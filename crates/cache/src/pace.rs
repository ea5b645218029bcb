//! How long loads take: for the length of leases, and for how early an entry is refreshed.

use std::sync::Mutex;
use std::time::Duration;

/// Loads that are remembered.
const REMEMBERED: usize = 100;
/// The weight of the newest load in the moving average.
const WEIGHT: f64 = 0.1;
const UNPOISONED: &str = "nothing panics while it holds the lock";

#[derive(Default)]
pub(crate) struct Pace(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// A ring of the last loads' times.
    loads: Vec<Duration>,
    next: usize,
    /// Moving average of load + populate.
    cost: Option<Duration>,
}

impl Pace {
    pub(crate) fn loaded(&self, took: Duration) {
        let mut inner = self.0.lock().expect(UNPOISONED);
        if inner.loads.len() < REMEMBERED {
            inner.loads.push(took);
        } else {
            let next = inner.next;
            inner.loads[next] = took;
            inner.next = (next + 1) % REMEMBERED;
        }
        // What a populate takes comes with the next one; a load alone is a good first guess.
        inner.cost.get_or_insert(took);
    }

    /// A load and its populate took so long together.
    pub(crate) fn stored(&self, took: Duration) {
        let mut inner = self.0.lock().expect(UNPOISONED);
        let before = inner.cost.unwrap_or(took);
        inner.cost = Some(before.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT));
    }

    /// At least 1 ms once there was a load: an entry's header knows no less.
    pub(crate) fn cost(&self) -> Duration {
        let cost = self.0.lock().expect(UNPOISONED).cost;
        cost.unwrap_or_default().max(Duration::from_millis(1))
    }

    /// What all but one in a hundred of the last loads take; zero before the first.
    pub(crate) fn p99(&self) -> Duration {
        let mut loads = self.0.lock().expect(UNPOISONED).loads.clone();
        loads.sort_unstable();
        let rank = (loads.len() * 99).div_ceil(100);
        rank.checked_sub(1).map_or(Duration::ZERO, |at| loads[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_in_a_hundred_does_not_count() {
        let ms = Duration::from_millis;
        let pace = Pace::default();
        assert_eq!((pace.p99(), pace.cost()), (Duration::ZERO, ms(1)));
        for _ in 0..150 {
            pace.loaded(ms(5));
            pace.stored(ms(5));
        }
        pace.loaded(ms(900));
        assert_eq!((pace.p99(), pace.cost()), (ms(5), ms(5)));
        pace.loaded(ms(900));
        assert_eq!(pace.p99(), ms(900));
        pace.stored(ms(905));
        assert_eq!(pace.cost(), ms(95));
    }
}
