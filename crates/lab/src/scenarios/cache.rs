//! Reads of products under writes, while Redis is killed, restarted, flushed, evicting, full, stopped or restored, and app-service dies
//! between COMMIT and invalidation: nothing is read that had been invalidated before the read began.
//!
//! The writes are app-service's, and so are the invalidations, inline and by its tail. The readers are in this process, with a cache of
//! their own each over the same entries, because ten million reads over HTTP would take an hour. That an invalidation has been applied
//! is known from the entry's floor, or from the position that the tail saves when Redis has acknowledged all that lies before it.

mod faults;
mod reading;
mod report;
mod writing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use testkit::Proxy;
use tokio::time::sleep;

use self::faults::{ALL, Storm, Struck};
use self::reading::Book;
pub use self::report::Report;
use crate::Arena;
use crate::ledger::sources::Sources;
use crate::scenarios::redis_admin::RedisAdmin;
use crate::scenarios::storefront::Storefront;

const PRODUCTS: usize = 64;
/// Between two faults all is well for a while.
const CALM: Duration = Duration::from_secs(3);

/// How much is read, and written meanwhile.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Reads through Redis or from the database at least; all faults strike in turn, each at least once, until there are as many
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub reads: u64,
    /// Price changes per second, through app-service
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub writes: u32,
    /// The negative control: load from rows that lag behind, as a replica's do, for a few seconds without faults. The run must fail
    #[arg(long)]
    pub lagging: bool,
}

/// Runs the scenario on servers without processes.
///
/// # Errors
/// When the system does not come back, or a reader gets what no writer wrote.
pub async fn run(arena: &mut Arena, plan: Plan) -> anyhow::Result<Report> {
    let sources = Sources::of(&arena.stack)?;
    let proxy = Proxy::before(&arena.stack.redis_url("app-service")).await?;
    arena
        .stack
        .set_environment(vec![("REDIS_URL".to_owned(), proxy.url().to_owned())]);
    arena.stack.start("app-service", 1).await?;
    let storefront = Arc::new(Storefront::open(&arena.stack, arena.folder.path(), PRODUCTS).await?);
    let book = Book::new(storefront.products.clone());
    let redis = RedisAdmin::at(&arena.stack.redis_url("admin"))?;
    let began = Instant::now();
    let (progress, following) = writing::follow(&book, &sources);
    let mut running = vec![following];
    running.extend(writing::start(&book, &storefront, &redis, plan.writes));
    let reader = (
        arena.stack.redis_url("admin"),
        arena.stack.postgres_superuser_url("app"),
    );
    running.extend(reading::start(&book, &reader.0, &reader.1, plan.lagging).await?);
    let storm = Storm {
        stack: &mut arena.stack,
        redis,
        proxy,
        sources: &sources,
        progress,
        book: Arc::clone(&book),
    };
    let struck = weather(storm, plan).await;
    book.stop.store(true, Ordering::Relaxed);
    for task in running {
        task.await.context("a reader or writer panicked")??;
    }
    Ok(Report::new(plan, &book, &struck?, began.elapsed()))
}

/// Fault after fault, until enough was read.
async fn weather(mut storm: Storm<'_>, plan: Plan) -> anyhow::Result<Vec<Struck>> {
    let mut struck = Vec::new();
    sleep(CALM).await;
    if plan.lagging {
        return Ok(struck);
    }
    for (number, fault) in ALL.into_iter().cycle().enumerate() {
        let so_far = storm.book.reads();
        if number >= ALL.len() && so_far >= plan.reads {
            break;
        }
        tracing::info!("{so_far} reads; now: {}", fault.name());
        struck.push(
            storm
                .strike(fault)
                .await
                .with_context(|| format!("fault: {}", fault.name()))?,
        );
        sleep(CALM).await;
    }
    Ok(struck)
}
