//! The synchronisation of flights in every interleaving: its file, with loom's lock in the place of the real one.

#[path = "../../src/flight/core.rs"]
#[expect(dead_code, reason = "not all of it is called here")]
mod core;

mod sync {
    pub(super) use loom::sync::{Arc, Mutex};
}

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU32, Ordering as LoomOrdering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use self::core::{Flights, Pilot};

type Flight = Pilot<u8, u32>;

#[derive(Default)]
struct Woken {
    now: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        *self.now.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Polls only when it is woken: a wake-up that is lost is a deadlock, which loom finds. (loom's own `block_on` takes a wake-up
/// that comes after its future is done for one of whatever the thread waits for next.)
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let woken = std::sync::Arc::new(Woken::default());
    let waker = Waker::from(std::sync::Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut now = woken.now.lock().unwrap();
        while !*now {
            now = woken.changed.wait(now).unwrap();
        }
        *now = false;
    }
}

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Every interleaving with up to three preemptions: more find nothing and take minutes.
    builder.preemption_bound = Some(3);
    builder.check(test);
}

/// Fetches 1, 2, … : each command's number, until nobody waits.
fn fly(mut pilot: Option<Flight>) {
    let mut fetched = 0;
    while let Some(flying) = pilot {
        fetched += 1;
        let sent = flying.sending();
        pilot = flying.land(&fetched, sent);
    }
}

#[test]
fn nobody_waits_for_ever_and_nothing_is_left() {
    model(|| {
        let flights = Flights::<u8, u32>::new();
        let (joined, pilot) = flights.join(&1);
        let flight = thread::spawn(move || fly(pilot));
        // In the first round, too late for it and so in the second, or after both.
        let (late, second) = flights.join(&1);
        fly(second);
        assert!(block_on(late).is_some());
        assert!(block_on(joined).is_some());
        flight.join().unwrap();
        assert!(flights.lead(&1).is_some(), "the flight is over");
    });
}

#[test]
fn a_reader_that_joins_after_the_command_was_sent_gets_the_next_one_s_answer() {
    model(|| {
        let truth = loom::sync::Arc::new(AtomicU32::new(1));
        let flights = Flights::<u8, u32>::new();
        let (joined, pilot) = flights.join(&1);
        let flight = thread::spawn({
            let truth = truth.clone();
            move || {
                let mut pilot = pilot;
                while let Some(flying) = pilot {
                    let sent = flying.sending();
                    let fetched = truth.load(LoomOrdering::SeqCst);
                    pilot = flying.land(&fetched, sent);
                }
            }
        });
        // A commit and its invalidation, and then a read that begins.
        truth.store(2, LoomOrdering::SeqCst);
        let (late, second) = flights.join(&1);
        if let Some(second) = second {
            let sent = second.sending();
            let fetched = truth.load(LoomOrdering::SeqCst);
            assert!(second.land(&fetched, sent).is_none());
        }
        assert_eq!(block_on(late), Some(2));
        assert!(block_on(joined).is_some());
        flight.join().unwrap();
    });
}

#[test]
fn a_reader_that_goes_away_holds_up_nobody() {
    model(|| {
        let flights = Flights::<u8, u32>::new();
        let (joined, pilot) = flights.join(&1);
        let (other, none) = flights.join(&1);
        assert!(none.is_none());
        let leaves = thread::spawn(move || drop(joined));
        let flight = thread::spawn(move || fly(pilot));
        assert_eq!(block_on(other), Some(1));
        leaves.join().unwrap();
        flight.join().unwrap();
        assert!(flights.lead(&1).is_some());
    });
}

#[test]
fn a_lost_flight_tells_those_who_wait_and_makes_way() {
    model(|| {
        let flights = Flights::<u8, u32>::new();
        let (joined, pilot) = flights.join(&1);
        let panics = thread::spawn(move || drop(pilot));
        assert_eq!(block_on(joined), None);
        panics.join().unwrap();
        assert!(flights.lead(&1).is_some());
    });
}

/// The negative control: a flight that serves whoever is there when it lands.
#[test]
#[should_panic(expected = "stale")]
fn serving_everybody_is_caught() {
    static CAUGHT: AtomicUsize = AtomicUsize::new(0);
    model(|| {
        let truth = loom::sync::Arc::new(AtomicU32::new(1));
        let flights = Flights::<u8, u32>::new();
        let (_joined, pilot) = flights.join(&1);
        let flight = thread::spawn({
            let truth = truth.clone();
            move || {
                let flying = pilot.unwrap();
                flying.sending();
                let fetched = truth.load(LoomOrdering::SeqCst);
                flying.land_for_all(&fetched);
            }
        });
        truth.store(2, LoomOrdering::SeqCst);
        let (late, second) = flights.join(&1);
        if second.is_none() && block_on(late) == Some(1) {
            CAUGHT.fetch_add(1, Ordering::Relaxed);
        }
        flight.join().unwrap();
    });
    assert_eq!(CAUGHT.load(Ordering::Relaxed), 0, "stale");
}
