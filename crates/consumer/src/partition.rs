//! One assigned partition: the bounded queue between the poll thread and the partition's worker.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::record::Raw;

const MAX_RECORDS: usize = 500;
const MAX_BYTES: usize = 8 << 20;

/// A record and where its fetch began: normally its own offset, less after a hole in the log (a transaction's marker, say).
pub(crate) struct Fetched {
    pub(crate) raw: Raw,
    pub(crate) from: i64,
}

/// Shared by the poll thread, which fills it, and one worker, which empties it.
pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) number: i32,
    state: Mutex<State>,
    /// One waiter, the worker.
    wake: Notify,
    /// The first offset whose effects are not committed in the database.
    next: AtomicI64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Fetched>,
    bytes: usize,
    /// Production time of the oldest record that the worker has in hand.
    in_hand: Option<i64>,
    rewind: Option<i64>,
    closed: bool,
}

impl Partition {
    pub(crate) fn new(topic: String, number: i32, next: i64) -> Partition {
        Partition {
            topic,
            number,
            state: Mutex::default(),
            wake: Notify::new(),
            next: AtomicI64::new(next),
        }
    }

    /// Adds a record; whether the queue is now full and the partition must be paused. While a rewind is due, records are dropped:
    /// they will be fetched again.
    pub(crate) fn push(&self, fetched: Fetched) -> bool {
        let mut state = self.lock();
        if state.rewind.is_some() || state.closed {
            return false;
        }
        state.bytes += fetched.raw.size();
        state.queue.push_back(fetched);
        let full = state.queue.len() >= MAX_RECORDS || state.bytes >= MAX_BYTES;
        drop(state);
        self.wake.notify_one();
        full
    }

    /// Whether a paused partition may go on: below half, because each pause throws the client's prefetched records away.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        state.queue.len() <= MAX_RECORDS / 2 && state.bytes <= MAX_BYTES / 2
    }

    /// Waits for records and takes at most `max`; `None` once closed, whatever is still queued.
    pub(crate) async fn take(&self, max: usize) -> Option<Vec<Fetched>> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if !state.queue.is_empty() {
                    let count = max.min(state.queue.len());
                    let batch: Vec<Fetched> = state.queue.drain(..count).collect();
                    state.bytes -= batch.iter().map(|f| f.raw.size()).sum::<usize>();
                    state.in_hand = batch.iter().find_map(|f| f.raw.timestamp_ms);
                    return Some(batch);
                }
            }
            self.wake.notified().await;
        }
    }

    /// Completes when the partition is closed.
    pub(crate) async fn closed(&self) {
        while !self.lock().closed {
            self.wake.notified().await;
        }
    }

    /// Ends the worker after its current attempt.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The batch in hand is committed.
    pub(crate) fn applied(&self, next: i64) {
        self.next.store(next, Ordering::Relaxed);
        self.lock().in_hand = None;
    }

    /// The position is lower than what was fetched: drops everything and asks the poll thread to fetch from `next` again.
    pub(crate) fn rewind(&self, next: i64) {
        let mut state = self.lock();
        state.queue.clear();
        state.bytes = 0;
        state.in_hand = None;
        state.rewind = Some(next);
    }

    pub(crate) fn wanted_rewind(&self) -> Option<i64> {
        self.lock().rewind
    }

    /// The client now fetches from `next`.
    pub(crate) fn rewound(&self, next: i64) {
        self.next.store(next, Ordering::Relaxed);
        self.lock().rewind = None;
    }

    pub(crate) fn next(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Production time of the oldest record that is here and not applied, in Unix milliseconds.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let state = self.lock();
        let queued = || state.queue.iter().find_map(|f| f.raw.timestamp_ms);
        state.in_hand.or_else(queued)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(offset: i64, bytes: usize) -> Fetched {
        Fetched {
            raw: Raw {
                topic: "t".into(),
                partition: 0,
                offset,
                timestamp_ms: Some(1000 + offset),
                key: None,
                headers: Vec::new(),
                payload: Some(vec![0; bytes]),
            },
            from: offset,
        }
    }

    fn partition() -> Partition {
        Partition::new("t".into(), 0, 0)
    }

    #[tokio::test]
    async fn the_queue_is_full_by_count_or_by_bytes_and_has_room_again_below_half() {
        let by_count = partition();
        let full: Vec<bool> = (0..500).map(|n| by_count.push(fetched(n, 10))).collect();
        assert_eq!(full.iter().position(|full| *full), Some(499));
        by_count.take(249).await.unwrap();
        assert!(!by_count.has_room());
        by_count.take(1).await.unwrap();
        assert!(by_count.has_room());

        let by_bytes = partition();
        assert!(!by_bytes.push(fetched(0, MAX_BYTES / 2)));
        assert!(by_bytes.push(fetched(1, MAX_BYTES / 2)));
    }

    #[tokio::test]
    async fn a_rewind_drops_what_is_queued_and_what_still_arrives() {
        let partition = partition();
        partition.push(fetched(7, 1));
        partition.rewind(3);
        partition.push(fetched(8, 1));
        assert_eq!(partition.wanted_rewind(), Some(3));
        partition.rewound(3);
        partition.push(fetched(3, 1));
        let batch = partition.take(10).await.unwrap();
        assert_eq!(batch.iter().map(|f| f.raw.offset).collect::<Vec<_>>(), [3]);
    }

    #[tokio::test]
    async fn a_closed_partition_gives_nothing_more() {
        let partition = partition();
        partition.push(fetched(0, 1));
        partition.close();
        assert!(partition.take(1).await.is_none());
        partition.closed().await;
    }

    #[tokio::test]
    async fn the_oldest_record_is_the_one_in_hand_then_the_first_queued() {
        let partition = partition();
        partition.push(fetched(0, 1));
        partition.push(fetched(1, 1));
        partition.take(1).await.unwrap();
        assert_eq!(partition.oldest_ms(), Some(1000));
        partition.applied(1);
        assert_eq!(partition.oldest_ms(), Some(1001));
    }
}
