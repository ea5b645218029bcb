//! Writers of products through app-service, and what is known of their invalidations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::redis::Cmd;
use deadpool_redis::redis::aio::MultiplexedConnection;
use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::reading::Book;
use crate::ledger::sources::Sources;
use crate::scenarios::redis_admin::RedisAdmin;
use crate::scenarios::storefront::Storefront;

const WRITERS: u32 = 4;
/// How long a look at a floor may take.
const GLANCE: Duration = Duration::from_millis(100);
/// How often the tail's position is looked at. It is saved every 250 ms.
const LOOK: Duration = Duration::from_millis(50);
/// A row may become visible after others with so much higher ids.
const OVERTAKEN: i64 = 2_000;

/// Writes `rate` times a second until the book says stop. A write that fails is not made again.
pub(super) fn start(
    book: &Arc<Book>,
    storefront: &Arc<Storefront>,
    redis: &RedisAdmin,
    rate: u32,
) -> Vec<JoinHandle<anyhow::Result<()>>> {
    let prices = Arc::new(AtomicU64::new(1_000));
    let writer = |_| {
        let (book, storefront, redis) = (Arc::clone(book), Arc::clone(storefront), redis.clone());
        let prices = Arc::clone(&prices);
        tokio::spawn(async move {
            let mut due = interval(Duration::from_secs(1) * WRITERS / rate.max(1));
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut floors = Floors {
                redis,
                connection: None,
            };
            while !book.stopped() {
                due.tick().await;
                let key = rand::random_range(0..book.products.len());
                // No two have the same price: each makes a version.
                let price = prices.fetch_add(1, Ordering::Relaxed);
                let Ok(version) = storefront.reprice(key, price).await else {
                    continue;
                };
                book.committed[key].fetch_max(version, Ordering::SeqCst);
                if floors.reached(book.products[key], version).await {
                    book.history.applied(key, version);
                }
            }
            Ok(())
        })
    };
    (0..WRITERS).map(writer).collect()
}

/// What Redis says itself.
struct Floors {
    redis: RedisAdmin,
    connection: Option<MultiplexedConnection>,
}

impl Floors {
    /// Whether a product's floor shows that its invalidation with `version` has been applied. No is no proof that it was not.
    async fn reached(&mut self, product: Uuid, version: i64) -> bool {
        let looked = timeout(GLANCE, async {
            if self.connection.is_none() {
                self.connection = Some(self.redis.connect().await.ok()?);
            }
            let connection = self.connection.as_mut()?;
            let floor = Cmd::hget(format!("c1:{{product:{product}}}:c"), "floor");
            floor.query_async::<Option<i64>>(connection).await.ok()
        });
        match looked.await {
            Ok(Some(floor)) => floor.is_some_and(|floor| floor >= version),
            Ok(None) | Err(_) => {
                self.connection = None;
                false
            }
        }
    }
}

/// How far the invalidator has come: all that was committed before `reached` is acknowledged by `store`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) store: String,
    pub(super) reached: i64,
}

#[derive(QueryableByName)]
struct CursorRow {
    #[diesel(sql_type = Nullable<Text>)]
    store: Option<String>,
    #[diesel(sql_type = BigInt)]
    reached: i64,
}

#[derive(QueryableByName)]
struct FactRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SqlUuid)]
    aggregate_id: Uuid,
    #[diesel(sql_type = BigInt)]
    aggregate_version: i64,
}

/// Follows the position that the invalidator saves when Redis has acknowledged what lies before it.
pub(super) fn follow(
    book: &Arc<Book>,
    sources: &Sources,
) -> (watch::Receiver<Progress>, JoinHandle<anyhow::Result<()>>) {
    let (sender, progress) = watch::channel(Progress::default());
    let (book, sources) = (Arc::clone(book), sources.clone());
    let following = tokio::spawn(async move {
        let mut conn = sources.connect("app").await?;
        let mut seen = 0;
        while !book.stopped() {
            seen = note_acknowledged(&mut conn, &book, seen).await?;
            let cursor: CursorRow = sql_query(
                "SELECT store, pg_snapshot_xmax(s1)::text::bigint AS reached FROM outbox_cursor WHERE sink = 'cache'",
            )
            .get_result(&mut conn)
            .await?;
            sender.send_replace(Progress {
                store: cursor.store.unwrap_or_default(),
                reached: cursor.reached,
            });
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    });
    (progress, following)
}

async fn note_acknowledged(conn: &mut AsyncPgConnection, book: &Book, seen: i64) -> anyhow::Result<i64> {
    let facts: Vec<FactRow> = sql_query(
        "SELECT fact.id, fact.aggregate_id, fact.aggregate_version FROM outbox AS fact, outbox_cursor AS cursor
         WHERE cursor.sink = 'cache' AND fact.id > $1 AND fact.aggregate_type = 'product'
           AND pg_visible_in_snapshot(fact.xid, cursor.s1)
         ORDER BY fact.id",
    )
    .bind::<BigInt, _>(seen - OVERTAKEN)
    .load(conn)
    .await?;
    for fact in &facts {
        if let Some(key) = book.products.iter().position(|id| *id == fact.aggregate_id) {
            book.history.applied(key, fact.aggregate_version);
        }
    }
    Ok(facts.last().map_or(seen, |fact| fact.id.max(seen)))
}
