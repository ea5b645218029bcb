//! Orders at a steady rate: an open loop, so that a slow system is not asked for less.

pub mod keep_alive;
pub mod shop;
pub mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::load::shop::{Outcome, Shop};
use crate::load::tally::{Action, Book, Phase, Tally};

/// Orders that may be waiting for an answer at once; more are withheld and counted.
const IN_FLIGHT: usize = 512;

/// How often a placed order is paid, and a placed or paid one cancelled.
const PAID: f64 = 0.6;
const CANCELLED: f64 = 0.2;

/// What becomes of orders.
#[derive(Clone, Copy)]
enum Life {
    /// Most are paid, and some cancelled.
    Whole,
    Placed,
}

/// Customers who place orders, pay most and cancel some, until they are stopped.
pub struct Load {
    book: Arc<Book>,
    stop: watch::Sender<bool>,
    begun: Instant,
    running: JoinHandle<()>,
}

impl Load {
    /// Places `rate` orders per second.
    pub fn start(shop: Arc<Shop>, rate: u32) -> Load {
        Load::of(shop, rate, Life::Whole)
    }

    /// Places `rate` orders per second, and nothing becomes of them.
    pub fn of_orders_alone(shop: Arc<Shop>, rate: u32) -> Load {
        Load::of(shop, rate, Life::Placed)
    }

    fn of(shop: Arc<Shop>, rate: u32, life: Life) -> Load {
        let book = Arc::new(Book::default());
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(run(shop, book.clone(), rate, life, stopped));
        Load {
            book,
            stop,
            begun: Instant::now(),
            running,
        }
    }

    /// Sees what the senders see.
    pub fn witness(&self) -> Witness {
        Witness(self.book.clone())
    }

    /// The requests that were answered since the last call. Whoever calls it once has to go on, because they are kept until then.
    pub fn take_phase(&self) -> Phase {
        self.book.take_phase()
    }

    /// Places no more orders, and waits for the answers that are still to come.
    pub async fn stop(self) -> Tally {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.stop.send_replace(true);
        // Every request has a timeout, so this ends.
        let _ = self.running.await;
        Tally {
            seconds,
            ..self.book.tally()
        }
    }
}

/// Sees what the senders of a load see.
#[derive(Clone)]
pub struct Witness(Arc<Book>);

impl Witness {
    /// The requests that wait for an answer now; their numbers are never used again.
    pub fn in_flight(&self) -> BTreeSet<u64> {
        self.0.in_flight()
    }

    /// How many of these requests still wait for an answer, or were shed or failed.
    pub fn unanswered(&self, of: &BTreeSet<u64>) -> usize {
        self.0.unanswered(of)
    }

    /// Orders that were placed, as far as it is known.
    pub fn placed(&self) -> u64 {
        self.0.tally().place.ok
    }

    /// When the latest begun of the successful requests began.
    pub fn latest_ok(&self) -> Option<Instant> {
        self.0.latest_ok()
    }
}

async fn run(shop: Arc<Shop>, book: Arc<Book>, rate: u32, life: Life, mut stopped: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    // Orders that came due while this task could not run are still sent.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    for number in 0.. {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = due.tick() => {}
        }
        let Ok(place) = room.clone().try_acquire_owned() else {
            book.withhold();
            continue;
        };
        let (shop, book) = (shop.clone(), book.clone());
        tokio::spawn(async move {
            order(&shop, &book, number, life).await;
            drop(place);
        });
    }
    let all = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
    let _ = room.acquire_many(all).await;
}

/// One order's life.
async fn order(shop: &Shop, book: &Book, number: usize, life: Life) {
    let customer = number % shop.customers();
    let (_, placed) = book.note(Action::Place, shop.place(customer, number)).await;
    let (Some(order), Life::Whole) = (placed, life) else {
        return;
    };
    if rand::random_bool(PAID) {
        book.note(Action::Pay, unit(shop.pay(&order))).await;
    }
    if rand::random_bool(CANCELLED) {
        book.note(Action::Cancel, unit(shop.cancel(customer, &order)))
            .await;
    }
}

async fn unit(request: impl Future<Output = Outcome>) -> (Outcome, ()) {
    (request.await, ())
}
