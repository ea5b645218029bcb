//! More records than a queue holds.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use crate::notes::{Member, Note, Notes, database, note, until_offsets};

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_for_its_full_queue_loses_and_repeats_nothing() {
    const RECORDS: i64 = 1200;
    let (database, topic) = (database().await, testkit::topic("pressure", 1).await);
    let notes = Notes::<Note>::new();
    let failing = notes.failing.clone();
    failing.store(true, Ordering::Relaxed);
    // Polled in order, so sent in order.
    join_all((0..RECORDS).map(|_| note(&topic, 0, "x"))).await;
    let member = Member::start(&database, &topic, &topic, notes);
    member.until_stuck().await;
    failing.store(false, Ordering::Relaxed);
    until_offsets(&database, &(0..RECORDS).collect::<Vec<_>>()).await;
    member.stop().await;
}
