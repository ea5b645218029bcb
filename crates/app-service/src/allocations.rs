//! Counts this process's allocations, in a build for the lab alone: `--features count-allocations`.

use std::alloc::System;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often it is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Tells the count as a metric, until the process ends.
pub(crate) async fn tell() {
    let told = metrics::counter!("process_allocations_total");
    loop {
        let stats = ALLOCATOR.stats();
        told.absolute((stats.allocations + stats.reallocations) as u64);
        tokio::time::sleep(TELL_EVERY).await;
    }
}
