//! The synchronisation of flights in every interleaving: its file, with loom's lock in the place of the real one.

#[path = "../../src/flight/core.rs"]
#[expect(dead_code, reason = "not all of it is called here")]
mod core;

mod sync {
    pub(super) use loom::sync::{Arc, Mutex};
}

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::future::block_on;
use loom::thread;

use self::core::{Flights, Pilot};

type Flight = Pilot<u8, u32>;

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
    loom::model(|| {
        let flights = Flights::<u8, u32>::new();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let flights = flights.clone();
                thread::spawn(move || {
                    let (joined, pilot) = flights.join(&1);
                    let pilot = pilot.map(|pilot| thread::spawn(move || fly(Some(pilot))));
                    assert!(block_on(joined).is_some());
                    if let Some(pilot) = pilot {
                        pilot.join().unwrap();
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(flights.lead(&1).is_some(), "the flight is over");
    });
}

#[test]
fn a_reader_that_joins_after_the_command_was_sent_gets_the_next_one_s_answer() {
    loom::model(|| {
        let truth = loom::sync::Arc::new(loom::sync::atomic::AtomicU32::new(1));
        let flights = Flights::<u8, u32>::new();
        let (joined, pilot) = flights.join(&1);
        let flight = thread::spawn({
            let truth = truth.clone();
            move || {
                let mut pilot = pilot;
                while let Some(flying) = pilot {
                    let sent = flying.sending();
                    let fetched = truth.load(loom::sync::atomic::Ordering::SeqCst);
                    pilot = flying.land(&fetched, sent);
                }
            }
        });
        // A commit and its invalidation, and then a read that begins.
        truth.store(2, loom::sync::atomic::Ordering::SeqCst);
        let (late, second) = flights.join(&1);
        if let Some(second) = second {
            let sent = second.sending();
            let fetched = truth.load(loom::sync::atomic::Ordering::SeqCst);
            assert!(second.land(&fetched, sent).is_none());
        }
        assert_eq!(block_on(late), Some(2));
        assert!(block_on(joined).is_some());
        flight.join().unwrap();
    });
}

#[test]
fn a_reader_that_goes_away_holds_up_nobody() {
    loom::model(|| {
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
    loom::model(|| {
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
    loom::model(|| {
        let truth = loom::sync::Arc::new(loom::sync::atomic::AtomicU32::new(1));
        let flights = Flights::<u8, u32>::new();
        let (_joined, pilot) = flights.join(&1);
        let flight = thread::spawn({
            let truth = truth.clone();
            move || {
                let flying = pilot.unwrap();
                flying.sending();
                let fetched = truth.load(loom::sync::atomic::Ordering::SeqCst);
                flying.land_for_all(&fetched);
            }
        });
        truth.store(2, loom::sync::atomic::Ordering::SeqCst);
        let (late, second) = flights.join(&1);
        if second.is_none() && block_on(late) == Some(1) {
            CAUGHT.fetch_add(1, Ordering::Relaxed);
        }
        flight.join().unwrap();
    });
    assert_eq!(CAUGHT.load(Ordering::Relaxed), 0, "stale");
}
