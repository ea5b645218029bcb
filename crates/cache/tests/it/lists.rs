//! Collections: pages under a nonce.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cache::{CacheStatus, Collection, LoadError, Pages, Policy};

use crate::server::Server;
use crate::shelf::{HIT, STORED, process, settings};

#[derive(Clone, Default)]
struct Numbers(Arc<(Mutex<Vec<u8>>, AtomicUsize)>);

impl Numbers {
    fn push(&self, number: u8) {
        self.0.0.lock().unwrap().push(number);
    }

    fn loads(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

impl Pages for Numbers {
    const NAMESPACE: &'static str = "numbers";
    const SCHEMA: u16 = 1;
    /// How many.
    type Page = usize;

    async fn load(&self, page: &usize) -> Result<Bytes, LoadError> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        let numbers = self.0.0.lock().unwrap();
        Ok(numbers.iter().take(*page).copied().collect::<Vec<u8>>().into())
    }
}

async fn read(list: &Collection<Numbers>, page: usize) -> (Vec<u8>, CacheStatus) {
    let entry = list.get(&page).await.unwrap();
    (entry.body.to_vec(), entry.status)
}

#[tokio::test]
async fn a_page_is_cached_until_the_list_changes() {
    let server = Server::start(&[]);
    let numbers = Numbers::default();
    let cache = process(&settings(&server.url())).await;
    let list = cache.collection(numbers.clone(), Policy::pages()).unwrap();
    numbers.push(1);
    assert_eq!(read(&list, 2).await, (vec![1], STORED));
    assert_eq!(read(&list, 2).await, (vec![1], HIT));
    assert_eq!(read(&list, 1).await, (vec![1], STORED));

    numbers.push(2);
    list.invalidate().await;
    assert_eq!(read(&list, 2).await, (vec![1, 2], STORED));
    assert_eq!(read(&list, 2).await, (vec![1, 2], HIT));

    numbers.push(3);
    let mut tail = cache.tail();
    tail.look().await.unwrap();
    list.reapply(&mut tail).await.unwrap();
    assert_eq!(read(&list, 3).await, (vec![1, 2, 3], STORED));
}

#[tokio::test]
async fn a_list_that_redis_forgot_does_not_come_back_with_old_pages() {
    let server = Server::start(&[]);
    let numbers = Numbers::default();
    let list = process(&settings(&server.url()))
        .await
        .collection(numbers.clone(), Policy::pages())
        .unwrap();
    read(&list, 9).await;
    numbers.push(1);
    list.invalidate().await;
    read(&list, 9).await;
    // The nonce is evicted, and the pages are not.
    assert_eq!(server.ask::<u8>(&["DEL", "c1:{numbers}:n"]), 1);
    assert_eq!(read(&list, 9).await, (vec![1], STORED));
}

#[tokio::test]
async fn a_hit_costs_two_commands() {
    let server = Server::start(&[]);
    let list = process(&settings(&server.url()))
        .await
        .collection(Numbers::default(), Policy::pages())
        .unwrap();
    read(&list, 9).await;
    let calls = || -> u64 {
        let info: String = server.ask(&["INFO", "commandstats"]);
        let calls = info
            .lines()
            .filter(|line| line.starts_with("cmdstat_get:") || line.starts_with("cmdstat_eval"))
            .filter_map(|line| {
                line.split("calls=")
                    .nth(1)?
                    .split(',')
                    .next()?
                    .parse::<u64>()
                    .ok()
            });
        calls.sum()
    };
    // The watermark is looked at meanwhile, twice a second.
    let fewest = testkit::eventually("hits were counted", async || {
        let before = calls();
        let (_, how) = read(&list, 9).await;
        (how == HIT).then(|| calls() - before)
    })
    .await;
    assert!((2..=3).contains(&fewest), "{fewest}");
}

#[tokio::test]
async fn without_redis_pages_come_from_the_source() {
    let numbers = Numbers::default();
    let list = process(&settings("redis://127.0.0.1:1"))
        .await
        .collection(numbers.clone(), Policy::pages())
        .unwrap();
    numbers.push(1);
    assert_eq!(read(&list, 9).await.0, [1]);
    for _ in 0..50 {
        assert_eq!(read(&list, 9).await.0, [1]);
    }
    assert!(numbers.loads() < 50, "they are remembered for a second");
    // This process's own changes are seen at once.
    numbers.push(2);
    assert!(!list.invalidate().await);
    assert_eq!(read(&list, 9).await.0, [1, 2]);
}
