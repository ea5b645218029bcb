//! A history of reads under writes and faults. While a process cannot reach Redis, what it remembers itself may be a second old.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cache::CacheArgs;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::judged::{KEYS, Run, Running};
use crate::server::Server;
use crate::shelf::settings;

/// The whole history lasts a little longer than its faults.
const READS: u64 = 100_000;
const SHORT: Duration = Duration::from_millis(300);

async fn start(server: &Server, lags: bool) -> Running {
    let hurried = CacheArgs {
        redis_command_timeout: Duration::from_millis(25),
        ..settings(&server.url())
    };
    Running::start(&hurried, lags).await
}

/// Every fault once, each followed by a moment without one.
async fn strike(run: &Run, server: &mut Server) {
    server.ask::<()>(&["FLUSHALL"]);
    sleep(SHORT).await;
    server.replace();
    sleep(SHORT).await;
    server.kill();
    sleep(SHORT).await;
    server.replace();
    sleep(SHORT).await;
    server.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    sleep(SHORT).await;
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    server.signal(Signal::STOP);
    sleep(SHORT).await;
    server.signal(Signal::CONT);
    sleep(SHORT).await;
    // Control keys alone, and then whatever is least used, while strangers fill the memory.
    for key in 0..KEYS {
        server.ask::<()>(&["DEL", &format!("c1:{{history:{key}}}:c")]);
    }
    sleep(SHORT).await;
    evict(server).await;
    sleep(SHORT).await;
    run.deadly.store(true, Ordering::SeqCst);
    sleep(SHORT).await;
    run.deadly.store(false, Ordering::SeqCst);
    sleep(SHORT).await;
}

async fn evict(server: &Server) {
    let used = |server: &Server| -> u64 {
        let memory: String = server.ask(&["INFO", "memory"]);
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.unwrap().trim().parse().unwrap()
    };
    server.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let limit = (used(server) + 200_000).to_string();
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", &limit]);
    let ballast = "x".repeat(10_000);
    for number in 0..100 {
        server.ask::<()>(&["SET", &format!("ballast:{number}"), &ballast, "PX", "500"]);
        sleep(Duration::from_millis(3)).await;
    }
    let stats: String = server.ask(&["INFO", "stats"]);
    assert!(!stats.contains("evicted_keys:0\r"), "nothing was evicted");
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_older_than_an_applied_invalidation() {
    let mut server = Server::start(&[]);
    let running = start(&server, false).await;
    for round in 0.. {
        strike(&running.run, &mut server).await;
        if round >= 1 && running.run.reads.load(Ordering::SeqCst) >= READS {
            break;
        }
    }
    let run = running.end().await;
    let [reads, stale, failed, local, orphans] =
        [&run.reads, &run.stale, &run.failed, &run.local, &run.orphans]
            .map(|count| count.load(Ordering::SeqCst));
    eprintln!(
        "{reads} reads, {stale} stale, {failed} failed, {local} from the process's own layer; {orphans} writers died"
    );
    assert!(reads >= READS && local > 0 && orphans > 0);
    assert_eq!((stale, failed), (0, 0));
}

/// The negative control: with a loader that reads a replica, the checker finds stale reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lags_is_caught() {
    let server = Server::start(&[]);
    let running = start(&server, true).await;
    testkit::eventually(
        "something was read that is older than its invalidation",
        async || (running.run.stale.load(Ordering::SeqCst) > 0).then_some(()),
    )
    .await;
    running.end().await;
}
