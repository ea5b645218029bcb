//! How fast a tail follows, and how little it writes for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outbox::{Page, Sink, SinkError};
use uuid::Uuid;

use crate::fixture::{Fixture, number};
use crate::reader::commit_one;
use crate::sinks::Recorder;

/// A commit that the tail is told of is delivered without waiting for the next poll, which is seldom while nothing happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_woken_tail_is_sooner_than_one_that_polls() {
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    let mut took = [Vec::new(), Vec::new()];
    for number in 0..24 {
        let woken = number % 2 == 1;
        // Longer than the intervals take to grow to the longest.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let aggregate = Uuid::now_v7();
        commit_one(&fixture, aggregate).await;
        let committed = Instant::now();
        if woken {
            tail.wake.wake();
        }
        while !sink.seen.all().contains(&(aggregate, 1)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(committed.elapsed() < Duration::from_secs(30));
        }
        took[usize::from(woken)].push(committed.elapsed());
    }
    tail.stop().await;
    let [polled, woken] = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    });
    assert!(woken * 2 < polled, "medians: woken {woken:?}, polled {polled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_steady_load_the_position_is_saved_a_few_times_a_second() {
    #[derive(Clone, Default)]
    struct Pages(Arc<AtomicUsize>);
    impl Sink for Pages {
        const NAME: &'static str = "cache";
        async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
            self.0.fetch_add(usize::from(!page.is_empty()), Ordering::Relaxed);
            Ok(())
        }
    }
    let fixture = Fixture::new().await;
    let pages = Pages::default();
    let tail = fixture.tail(pages.clone());
    let began = Instant::now();
    // So many that saving each would show.
    while pages.0.load(Ordering::Relaxed) < 100 {
        commit_one(&fixture, Uuid::now_v7()).await;
        tail.wake.wake();
        assert!(began.elapsed() < Duration::from_secs(120));
    }
    tail.stop().await;
    let (pages, elapsed) = (pages.0.load(Ordering::Relaxed), began.elapsed());
    let saves = "SELECT saves AS number FROM outbox_cursor WHERE sink = 'cache'";
    let saves = number(&mut fixture.connect().await, saves).await;
    // Every 250 ms or 64 pages, and once at the end.
    let most = i64::try_from(elapsed.as_millis() / 250 + pages as u128 / 64 + 1).unwrap();
    assert!(saves <= most, "{saves} saves of {pages} pages in {elapsed:?}");
    assert!(most < 100, "the bound says nothing: the machine took {elapsed:?}");
}

/// A sink that refuses, and keeps when.
#[derive(Clone, Default)]
pub(crate) struct Refusing {
    pub(crate) attempts: Arc<std::sync::Mutex<Vec<Instant>>>,
    /// How many attempts it refuses.
    pub(crate) until: Arc<AtomicUsize>,
}

impl Sink for Refusing {
    const NAME: &'static str = "cache";

    async fn deliver(&mut self, _: &Page) -> Result<(), SinkError> {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push(Instant::now());
        match attempts.len() > self.until.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(SinkError::new("full", anyhow::anyhow!("no room"))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_is_asked_less_and_less_often() {
    let fixture = Fixture::new().await;
    let sink = Refusing::default();
    sink.until.store(5, Ordering::Relaxed);
    commit_one(&fixture, Uuid::now_v7()).await;
    let tail = fixture.tail(sink.clone());
    let attempts = testkit::eventually("it takes the page", async || {
        let attempts = sink.attempts.lock().unwrap().clone();
        (attempts.len() == 6).then_some(attempts)
    })
    .await;
    tail.stop().await;
    let mut least = Duration::from_millis(100);
    for pair in attempts.windows(2) {
        let waited = pair[1] - pair[0];
        assert!(waited >= least, "{waited:?} instead of at least {least:?}");
        least *= 2;
    }
}
