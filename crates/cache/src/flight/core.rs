//! The synchronisation of flights and nothing else, so that every interleaving of it can be tried.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, Mutex};

const UNPOISONED: &str = "nothing panics while it holds the lock";

/// The flights of a process, by key; cheap to clone.
pub(crate) struct Flights<K, T> {
    // Taken before a flight's own lock, never after.
    flying: Arc<Mutex<HashMap<K, Arc<Flight<T>>>>>,
}

struct Flight<T> {
    seats: Mutex<Seats<T>>,
}

struct Seats<T> {
    /// How many commands have been sent, or are about to be.
    sent: u64,
    /// The number of the next seat.
    next: u64,
    taken: HashMap<u64, Seat<T>>,
}

struct Seat<T> {
    /// How many commands had been sent when the caller joined.
    joined: u64,
    waker: Option<Waker>,
    served: Served<T>,
}

enum Served<T> {
    NotYet,
    With(T),
    /// The flight is lost.
    Lost,
}

/// A command that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent(u64);

impl<K: Clone + Eq + Hash, T: Clone> Flights<K, T> {
    pub(crate) fn new() -> Self {
        Flights {
            flying: Arc::new(Mutex::new(HashMap::new())),
        }
    }

    /// Takes a seat. Whoever gets a pilot has to fly.
    pub(crate) fn join(&self, key: &K) -> (Joined<T>, Option<Pilot<K, T>>) {
        let mut flying = self.flying.lock().expect(UNPOISONED);
        let (flight, pilot) = match flying.get(key) {
            Some(flight) => (Arc::clone(flight), None),
            None => {
                let flight = Arc::new(Flight::empty());
                flying.insert(key.clone(), Arc::clone(&flight));
                let pilot = self.pilot(key, &flight);
                (flight, Some(pilot))
            }
        };
        // Still under the lock: a flight leaves the map only when nobody waits.
        let seat = flight.take_seat();
        (Joined { flight, seat }, pilot)
    }

    /// For a fetch that nobody waits for; `None` when one is under way.
    pub(crate) fn lead(&self, key: &K) -> Option<Pilot<K, T>> {
        let mut flying = self.flying.lock().expect(UNPOISONED);
        if flying.contains_key(key) {
            return None;
        }
        let flight = Arc::new(Flight::empty());
        flying.insert(key.clone(), Arc::clone(&flight));
        Some(self.pilot(key, &flight))
    }

    fn pilot(&self, key: &K, flight: &Arc<Flight<T>>) -> Pilot<K, T> {
        Pilot {
            flying: Arc::clone(&self.flying),
            flight: Arc::clone(flight),
            key: key.clone(),
            landed: false,
        }
    }
}

impl<T> Flight<T> {
    fn empty() -> Flight<T> {
        Flight {
            seats: Mutex::new(Seats {
                sent: 0,
                next: 0,
                taken: HashMap::new(),
            }),
        }
    }

    fn take_seat(&self) -> u64 {
        let mut seats = self.seats.lock().expect(UNPOISONED);
        let seat = seats.next;
        seats.next += 1;
        let joined = seats.sent;
        seats.taken.insert(
            seat,
            Seat {
                joined,
                waker: None,
                served: Served::NotYet,
            },
        );
        seat
    }
}

/// Whoever flies. Dropped before it has landed, as by a panic, the flight is lost and those who wait are told.
pub(crate) struct Pilot<K: Eq + Hash, T> {
    flying: Arc<Mutex<HashMap<K, Arc<Flight<T>>>>>,
    flight: Arc<Flight<T>>,
    key: K,
    landed: bool,
}

impl<K: Eq + Hash, T: Clone> Pilot<K, T> {
    /// Call it right before a command is sent whose answer may be shared.
    pub(crate) fn sending(&self) -> Sent {
        let mut seats = self.flight.seats.lock().expect(UNPOISONED);
        seats.sent += 1;
        Sent(seats.sent)
    }

    /// Serves those who joined before `fetched_by`. Returns the pilot when others wait: fly again.
    pub(crate) fn land(self, outcome: &T, fetched_by: Sent) -> Option<Self> {
        self.serve(|joined| (joined < fetched_by.0).then(|| outcome.clone()))
    }

    /// Serves everybody: with an error, which is never old.
    pub(crate) fn land_for_all(self, outcome: &T) {
        let left = self.serve(|_| Some(outcome.clone()));
        debug_assert!(left.is_none(), "everybody was served");
    }

    /// Serves nobody. Returns the pilot when somebody waits.
    pub(crate) fn land_for_none(self) -> Option<Self> {
        self.serve(|_| None)
    }

    fn serve(mut self, outcome: impl Fn(u64) -> Option<T>) -> Option<Self> {
        let mut flying = self.flying.lock().expect(UNPOISONED);
        let mut seats = self.flight.seats.lock().expect(UNPOISONED);
        let mut wakers = Vec::new();
        let mut others_wait = false;
        for seat in seats.taken.values_mut() {
            if !matches!(seat.served, Served::NotYet) {
                continue;
            }
            match outcome(seat.joined) {
                Some(outcome) => {
                    seat.served = Served::With(outcome);
                    wakers.extend(seat.waker.take());
                }
                None => others_wait = true,
            }
        }
        if !others_wait {
            flying.remove(&self.key);
            self.landed = true;
        }
        drop(seats);
        drop(flying);
        wakers.into_iter().for_each(Waker::wake);
        others_wait.then_some(self)
    }
}

impl<K: Eq + Hash, T> Drop for Pilot<K, T> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let mut flying = self.flying.lock().expect(UNPOISONED);
        let mut seats = self.flight.seats.lock().expect(UNPOISONED);
        flying.remove(&self.key);
        let mut wakers = Vec::new();
        for seat in seats.taken.values_mut() {
            if matches!(seat.served, Served::NotYet) {
                seat.served = Served::Lost;
                wakers.extend(seat.waker.take());
            }
        }
        drop(seats);
        drop(flying);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A seat: resolves to what its holder may have, or to `None` when the flight is lost. Dropping it gives the seat up.
pub(crate) struct Joined<T> {
    flight: Arc<Flight<T>>,
    seat: u64,
}

impl<T> Future for Joined<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut seats = self.flight.seats.lock().expect(UNPOISONED);
        let Some(seat) = seats.taken.get_mut(&self.seat) else {
            return Poll::Ready(None);
        };
        match std::mem::replace(&mut seat.served, Served::NotYet) {
            Served::NotYet => {
                seat.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Served::With(outcome) => {
                seats.taken.remove(&self.seat);
                Poll::Ready(Some(outcome))
            }
            Served::Lost => {
                seats.taken.remove(&self.seat);
                Poll::Ready(None)
            }
        }
    }
}

impl<T> Drop for Joined<T> {
    fn drop(&mut self) {
        let mut seats = self.flight.seats.lock().expect(UNPOISONED);
        seats.taken.remove(&self.seat);
    }
}
