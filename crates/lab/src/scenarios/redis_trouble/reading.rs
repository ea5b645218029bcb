//! Reads through app-service at a steady rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::StatusCode;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::report::Phase;
use super::{LOOK, PATIENCE, PRODUCTS};
use crate::scenarios::storefront::Storefront;

/// Of one product after another.
pub(super) struct Readers {
    book: Arc<Book>,
    reading: JoinHandle<()>,
}

/// Answers in a row, up to now, that were hits.
struct Run {
    hits: usize,
    last_miss: Instant,
}

#[derive(Default)]
struct Book {
    phase: Mutex<Phase>,
    run: Mutex<Run>,
    stop: AtomicBool,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            hits: 0,
            last_miss: Instant::now(),
        }
    }
}

impl Readers {
    pub(super) fn start(storefront: Arc<Storefront>, rate: u32) -> Readers {
        let book = Arc::new(Book::default());
        let reading = tokio::spawn(read(storefront, Arc::clone(&book), rate));
        Readers { book, reading }
    }

    /// What was answered since the last call.
    pub(super) fn take(&self) -> Phase {
        std::mem::take(
            &mut self
                .book
                .phase
                .lock()
                .expect("nothing panics while it holds the lock"),
        )
    }

    /// Returns when every product was a hit: when the last one was that was none.
    pub(super) async fn until_all_hit(&self) -> anyhow::Result<Instant> {
        let run = || {
            self.book
                .run
                .lock()
                .expect("nothing panics while it holds the lock")
        };
        run().hits = 0;
        let hits = async {
            while run().hits < PRODUCTS {
                sleep(LOOK).await;
            }
            run().last_miss
        };
        timeout(PATIENCE, hits).await.context("reads don't hit")
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.book.stop.store(true, Ordering::SeqCst);
        self.reading.await.context("a reader panicked")
    }
}

async fn read(storefront: Arc<Storefront>, book: Arc<Book>, rate: u32) {
    let mut due = interval(Duration::from_secs(1) / rate);
    // An open loop: a slow answer does not make the next reader wait.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut reading = JoinSet::new();
    for number in 0.. {
        due.tick().await;
        if book.stop.load(Ordering::SeqCst) {
            break;
        }
        let (storefront, book) = (Arc::clone(&storefront), Arc::clone(&book));
        reading.spawn(async move { read_one(&storefront, &book, number).await });
        while reading.try_join_next().is_some() {}
    }
    reading.join_all().await;
}

async fn read_one(storefront: &Storefront, book: &Book, number: usize) {
    let began = Instant::now();
    let answer = async {
        let answer = storefront.look(number).await?;
        let status = answer.status();
        let how = answer
            .headers()
            .get("cache-status")
            .and_then(|how| how.to_str().ok());
        // From Redis: fresh, or stale and refreshed behind.
        let hit = how.is_some_and(|how| how.starts_with("plumbline; hit") && !how.ends_with("local"));
        answer.bytes().await?;
        anyhow::Ok((status, hit))
    };
    let answer = answer.await;
    let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
    let hit = matches!(answer, Ok((StatusCode::OK, true)));
    {
        let mut run = book.run.lock().expect("nothing panics while it holds the lock");
        run.hits = if hit { run.hits + 1 } else { 0 };
        if !hit {
            run.last_miss = Instant::now();
        }
    }
    let mut phase = book.phase.lock().expect("nothing panics while it holds the lock");
    match answer {
        Ok((StatusCode::OK, _)) => {
            phase.answered.push(took);
            phase.hits += u64::from(hit);
        }
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => phase.shed += 1,
        Ok((status, _)) => {
            tracing::warn!("a read was answered with {status}");
            phase.failed += 1;
        }
        Err(error) => {
            tracing::warn!("a read failed: {error:#}");
            phase.failed += 1;
        }
    }
}
