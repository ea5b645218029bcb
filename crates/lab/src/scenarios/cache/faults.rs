//! What happens to Redis, and to app-service between COMMIT and invalidation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use deadpool_redis::redis::Cmd;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use serde::Serialize;
use stack::{Server, Stack};
use testkit::{Mood, Proxy};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::reading::Book;
use super::writing::Progress;
use crate::ledger::sources::Sources;
use crate::scenarios::redis_admin::RedisAdmin;

/// How long Redis is down, stopped, full or evicting.
const LONG: Duration = Duration::from_secs(3);
/// How long writes go on after the snapshot that Redis is restored from.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// Commits that app-service dies with before it could invalidate.
const ORPHANS: i64 = 20;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Killed,
    Restarted,
    Flushed,
    Evicting,
    OutOfMemory,
    Stopped,
    WriterKilled,
    Restored,
}

pub(super) const ALL: [Fault; 8] = [
    Fault::Killed,
    Fault::Restarted,
    Fault::Flushed,
    Fault::Evicting,
    Fault::OutOfMemory,
    Fault::Stopped,
    Fault::WriterKilled,
    Fault::Restored,
];

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Killed => "Redis killed, down for 3 s",
            Fault::Restarted => "Redis restarted",
            Fault::Flushed => "FLUSHALL",
            Fault::Evicting => "evicting (allkeys-lru) for 3 s",
            Fault::OutOfMemory => "out of memory (noeviction) for 3 s",
            Fault::Stopped => "Redis stopped (SIGSTOP) for 3 s",
            Fault::WriterKilled => "app-service killed between COMMIT and invalidation",
            Fault::Restored => "Redis restored from a snapshot 2 s old",
        }
    }
}

/// One fault, from its beginning until all that it may have left is applied again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) fault: Fault,
    pub(super) began: Instant,
    /// When Redis was killed that came back with old values: until then it kept what it had acknowledged.
    pub(super) killed: Option<Instant>,
    /// When Redis had lost what it had acknowledged, and answered again.
    pub(super) lost: Option<Instant>,
    /// When the invalidator had saved that, and when it had applied everything again.
    pub(super) noticed: Option<Instant>,
    pub(super) reapplied: Option<Instant>,
    /// Reads meanwhile, other than from a process's own layer, and those of them that were answered with less than was committed.
    pub(super) reads: u64,
    pub(super) behind: u64,
}

pub(super) struct Storm<'a> {
    pub(super) stack: &'a mut Stack,
    pub(super) redis: RedisAdmin,
    /// Between app-service and Redis.
    pub(super) proxy: Proxy,
    pub(super) sources: &'a Sources,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) book: Arc<Book>,
}

impl Storm<'_> {
    pub(super) async fn strike(&mut self, fault: Fault) -> anyhow::Result<Struck> {
        let mut struck = Struck {
            fault,
            began: Instant::now(),
            killed: None,
            lost: None,
            noticed: None,
            reapplied: None,
            reads: 0,
            behind: 0,
        };
        let counts = |book: &Book| (book.reads(), book.behind.load(Ordering::Relaxed));
        let (reads, behind) = counts(&self.book);
        match fault {
            Fault::Killed => self.replace(LONG, &mut struck).await?,
            Fault::Restarted => self.replace(Duration::ZERO, &mut struck).await?,
            Fault::Flushed => self.redis.ask::<()>(&["FLUSHALL"]).await?,
            Fault::Evicting => self.evict().await?,
            Fault::OutOfMemory => self.fill_up().await?,
            Fault::Stopped => {
                self.stack.pause_server(Server::Redis)?;
                sleep(LONG).await;
                self.stack.resume_server(Server::Redis)?;
            }
            Fault::WriterKilled => self.kill_the_writer(&mut struck).await?,
            Fault::Restored => self.restore(&mut struck).await?,
        }
        self.until_hits().await?;
        let (reads_after, behind_after) = counts(&self.book);
        struck.reads = reads_after - reads;
        struck.behind = behind_after - behind;
        Ok(struck)
    }

    /// An empty Redis in its place.
    async fn replace(&mut self, down: Duration, struck: &mut Struck) -> anyhow::Result<()> {
        let before = self.progress.borrow().store.clone();
        let committed = self.last_transaction().await?;
        self.stack.kill_server(Server::Redis)?;
        sleep(down).await;
        self.stack.start_server(Server::Redis).await?;
        struck.lost = Some(Instant::now());
        self.until_reapplied(&before, committed, struck).await
    }

    /// What nobody should do: Redis comes back with old values, and without the floors that kept them out. The invalidator would
    /// reach it before the readers do, so it has to wait for them.
    async fn restore(&mut self, struck: &mut Struck) -> anyhow::Result<()> {
        let (_, folder): (String, String) = self.redis.ask(&["CONFIG", "GET", "dir"]).await?;
        self.redis.ask::<()>(&["SAVE"]).await?;
        sleep(FORGOTTEN).await;
        let before = self.progress.borrow().store.clone();
        let committed = self.last_transaction().await?;
        self.proxy.set(Mood::Silent);
        struck.killed = Some(Instant::now());
        self.stack.kill_server(Server::Redis)?;
        self.stack.start_server(Server::Redis).await?;
        std::fs::remove_file(format!("{folder}/dump.rdb")).context("there was no snapshot")?;
        struck.lost = Some(Instant::now());
        self.until_hits().await?;
        self.proxy.set(Mood::Closed);
        self.proxy.set(Mood::Open);
        self.until_reapplied(&before, committed, struck).await
    }

    async fn until_reapplied(
        &mut self,
        before: &str,
        committed: i64,
        struck: &mut Struck,
    ) -> anyhow::Result<()> {
        self.until(|progress| progress.store != before).await?;
        struck.noticed = Some(Instant::now());
        self.until(|progress| progress.store != before && progress.reached >= committed)
            .await?;
        struck.reapplied = Some(Instant::now());
        Ok(())
    }

    /// Strangers fill the memory, so that keys of the cache are evicted, one by one.
    async fn evict(&mut self) -> anyhow::Result<()> {
        let evicted = self.redis.info("evicted_keys").await?;
        let limit = self.redis.info("used_memory").await? + 300_000;
        self.redis.set("maxmemory", &limit.to_string()).await?;
        let mut connection = self.redis.connect().await?;
        let ballast = "x".repeat(10_000);
        let began = Instant::now();
        for number in 0_u64.. {
            let set = Cmd::pset_ex(format!("ballast:{number}"), &ballast, 2_000);
            set.query_async::<()>(&mut connection).await?;
            if began.elapsed() >= LONG {
                break;
            }
            sleep(Duration::from_millis(2)).await;
        }
        ensure!(
            self.redis.info("evicted_keys").await? > evicted,
            "nothing was evicted"
        );
        self.redis.set("maxmemory", "256mb").await
    }

    async fn fill_up(&mut self) -> anyhow::Result<()> {
        self.redis.set("maxmemory-policy", "noeviction").await?;
        self.redis.set("maxmemory", "1").await?;
        sleep(LONG).await;
        self.redis.set("maxmemory", "256mb").await?;
        self.redis.set("maxmemory-policy", "allkeys-lru").await
    }

    /// app-service commits, and what it sends to Redis doesn't arrive; then it dies, and that is lost.
    async fn kill_the_writer(&mut self, struck: &mut Struck) -> anyhow::Result<()> {
        self.proxy.set(Mood::Silent);
        let committed = |book: &Book| {
            book.committed
                .iter()
                .map(|version| version.load(Ordering::SeqCst))
                .sum::<i64>()
        };
        let before = committed(&self.book);
        let enough = async {
            while committed(&self.book) < before + ORPHANS {
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, enough).await.context("nothing was committed")?;
        let last = self.last_transaction().await?;
        self.stack.kill("app-service", 1)?;
        struck.lost = Some(Instant::now());
        self.proxy.set(Mood::Closed);
        self.proxy.set(Mood::Open);
        self.stack.start("app-service", 1).await?;
        self.until(|progress| progress.reached >= last).await?;
        struck.reapplied = Some(Instant::now());
        Ok(())
    }

    async fn last_transaction(&self) -> anyhow::Result<i64> {
        // Here alone: its `load` is not an atomic's.
        use diesel_async::RunQueryDsl as _;
        #[derive(QueryableByName)]
        struct Next {
            #[diesel(sql_type = BigInt)]
            next: i64,
        }
        let mut conn = self.sources.connect("app").await?;
        let next: Next = sql_query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next")
            .get_result(&mut conn)
            .await?;
        Ok(next.next)
    }

    async fn until(&mut self, there: impl FnMut(&Progress) -> bool) -> anyhow::Result<()> {
        timeout(PATIENCE, self.progress.wait_for(there))
            .await
            .context("the invalidator did not come so far")?
            .context("nobody follows the invalidator")?;
        Ok(())
    }

    /// Returns when both processes use Redis again.
    async fn until_hits(&self) -> anyhow::Result<()> {
        let hits = || self.book.hits.load(Ordering::Relaxed);
        let before = hits();
        let enough = async {
            while hits() < before + 1_000 {
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, enough).await.context("Redis is not used again")
    }
}
