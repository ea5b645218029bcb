use std::sync::{Arc, Mutex};

use outbox::{Page, Sink, SinkError, append_in_txn};
use uuid::Uuid;

use crate::fixture::{BY, Fixture};

/// Keeps how many rows and bytes each page had.
#[derive(Clone, Default)]
struct Sizes(Arc<Mutex<Vec<(usize, usize)>>>);

impl Sink for Sizes {
    const NAME: &'static str = "cache";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        self.0.lock().unwrap().push((page.len(), page.payload_bytes()));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_large_rows_a_page_has_few_and_no_more_are_asked_for() {
    const BYTES: usize = 200 << 10;
    const ROWS: usize = 150;
    let fixture = Fixture::new().await;
    let conn = fixture.connect().await;
    for _ in 0..ROWS / 10 {
        let fact = || {
            let mut fact = fixture.fact(Uuid::now_v7(), 1);
            fact.payload = vec![b' '; BYTES];
            fact
        };
        let facts: Vec<_> = std::iter::repeat_with(fact).take(10).collect();
        append_in_txn(&conn, &BY, &facts).await.unwrap();
    }
    let sizes = Sizes::default();
    let tail = fixture.tail(sizes.clone());
    let pages = testkit::eventually("all rows", async || {
        let pages = sizes.0.lock().unwrap().clone();
        (pages.iter().map(|(rows, _)| rows).sum::<usize>() == ROWS).then_some(pages)
    })
    .await;
    tail.stop().await;
    assert!(
        pages.iter().all(|(rows, bytes)| *bytes == rows * BYTES),
        "{pages:?}"
    );
    // 8 MiB are reached with the 41st row; from then on the statement itself is for 40.
    let rows: Vec<_> = pages.into_iter().map(|(rows, _)| rows).collect();
    assert_eq!(rows, [41, 40, 40, 29]);
}
