use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After `Connection: close`, which is how a replica says that it is going: longer than its lame duck, so that no request is on its
/// way to it when it stops accepting.
const LEAVING: Duration = Duration::from_secs(10);
/// After a connection was refused, so that not every request finds out anew.
const REFUSED: Duration = Duration::from_secs(1);

/// Whose turn it is: one endpoint after another, without those that are left out for a while.
pub(super) struct Rotation {
    next: AtomicUsize,
    /// By endpoint.
    out_until: Mutex<Vec<Instant>>,
}

impl Rotation {
    pub(super) fn new(endpoints: usize) -> Rotation {
        Rotation {
            next: AtomicUsize::new(0),
            out_until: Mutex::new(vec![Instant::now(); endpoints]),
        }
    }

    pub(super) fn turn(&self, now: Instant) -> usize {
        let count = self.with(|out_until| out_until.len());
        let first = self.next.fetch_add(1, Ordering::Relaxed) % count;
        self.choose((first..count).chain(0..first), now)
    }

    /// Another than `endpoint`, which refused a connection; itself when it is the only one.
    pub(super) fn after_refusal(&self, endpoint: usize, now: Instant) -> usize {
        self.leave_out(endpoint, now + REFUSED);
        let count = self.with(|out_until| out_until.len());
        if count == 1 {
            return endpoint;
        }
        self.choose((endpoint + 1..count).chain(0..endpoint), now)
    }

    pub(super) fn leaves(&self, endpoint: usize, now: Instant) {
        self.leave_out(endpoint, now + LEAVING);
    }

    fn leave_out(&self, endpoint: usize, until: Instant) {
        self.with(|out_until| out_until[endpoint] = until);
    }

    /// The first that is not left out; when all are, the one whose time is over first: it is the likeliest to be back.
    fn choose(&self, order: impl Iterator<Item = usize>, now: Instant) -> usize {
        self.with(|out_until| order.min_by_key(|endpoint| out_until[*endpoint].max(now)))
            .expect("there is at least one endpoint")
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Instant>) -> T) -> T {
        act(&mut self.out_until.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(rotation: &Rotation, now: Instant, count: usize) -> Vec<usize> {
        (0..count).map(|_| rotation.turn(now)).collect()
    }

    #[test]
    fn who_is_going_gets_nothing_until_it_can_be_back() {
        let (rotation, now) = (Rotation::new(3), Instant::now());
        assert_eq!(turns(&rotation, now, 4), [0, 1, 2, 0]);
        rotation.leaves(1, now);
        assert_eq!(turns(&rotation, now, 4), [2, 2, 0, 2]);
        assert_eq!(turns(&rotation, now + LEAVING, 3), [2, 0, 1]);
    }

    #[test]
    fn when_all_are_left_out_the_one_that_was_first_to_go_is_asked() {
        let (rotation, now) = (Rotation::new(2), Instant::now());
        rotation.leaves(1, now);
        let later = now + Duration::from_secs(2);
        rotation.leaves(0, later);
        assert_eq!(turns(&rotation, later, 2), [1, 1]);
        assert_eq!(rotation.after_refusal(1, later), 0);
    }

    #[test]
    fn the_only_one_is_asked_whatever_it_said() {
        let (rotation, now) = (Rotation::new(1), Instant::now());
        rotation.leaves(0, now);
        assert_eq!(rotation.turn(now), 0);
        assert_eq!(rotation.after_refusal(0, now), 0);
    }
}
