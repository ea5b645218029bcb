//! Readers of products through the cache, as several processes have them, and the checker of what they are answered.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use cache::{
    Cache, CacheArgs, CacheStatus, LoadError, Loaded, Lookup, Namespace, Policy, Source, Unavailable,
};
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryableByName, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use testkit::{Begun, History, Stale};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Caches with connections, flights and memories of their own.
const PROCESSES: usize = 2;
/// The readers of each: half of them read one product at a time, half a page of them.
const READERS: usize = 8;
const PAGE: usize = 20;
const HOT: usize = 4;
/// How many loads of a process run at once.
const LOADS: usize = 4;
/// What a process remembers itself, while Redis is out of reach, is a second old at most, and answered a moment later.
const REMEMBERED: Duration = Duration::from_millis(1_100);
/// More are counted and not kept.
const EXAMPLES: usize = 1_000_000;

/// Products by id, as the rows are: what is read is the version. app-service invalidates these very entries.
struct Rows {
    pool: Pool<AsyncPgConnection>,
    lagging: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    version: i64,
}

impl Source for Rows {
    const NAMESPACE: &'static str = "product";
    const SCHEMA: u16 = 1;
    type Key = Uuid;

    async fn load(&self, id: &Uuid) -> Result<Option<Loaded>, LoadError> {
        // Here alone: its `load` is not an atomic's.
        use diesel_async::RunQueryDsl as _;
        let mut conn = self.pool.get().await?;
        let row: Option<Row> = sql_query("SELECT version FROM product WHERE id = $1")
            .bind::<SqlUuid, _>(id)
            .get_result(&mut conn)
            .await
            .optional()?;
        let Some(Row { version }) = row else {
            return Ok(None);
        };
        let version = if self.lagging {
            (version - 3).max(1)
        } else {
            version
        };
        Ok(Some(Loaded {
            version: version.try_into()?,
            mark: 0,
            body: version.to_string().into(),
        }))
    }
}

/// What all readers share, and the writers with them.
pub(super) struct Book {
    pub(super) products: Vec<Uuid>,
    pub(super) history: History,
    /// The versions that writers were told to be committed.
    pub(super) committed: Vec<AtomicI64>,
    pub(super) stop: AtomicBool,
    /// Answered from Redis.
    pub(super) hits: AtomicU64,
    /// Loaded, or waited for somebody who loaded.
    pub(super) loaded: AtomicU64,
    /// Answered from a process's own layer, while Redis was out of reach.
    pub(super) local: AtomicU64,
    /// Of the others: answered with less than was committed when they began, whether it was invalidated or not.
    pub(super) behind: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) stale: Mutex<Vec<Stale>>,
}

impl Book {
    pub(super) fn new(products: Vec<Uuid>) -> Arc<Book> {
        Arc::new(Book {
            history: History::new(products.len()),
            committed: products.iter().map(|_| AtomicI64::new(1)).collect(),
            products,
            stop: AtomicBool::default(),
            hits: AtomicU64::default(),
            loaded: AtomicU64::default(),
            local: AtomicU64::default(),
            behind: AtomicU64::default(),
            failed: AtomicU64::default(),
            stale: Mutex::default(),
        })
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Through Redis or from the database.
    pub(super) fn reads(&self) -> u64 {
        self.hits.load(Ordering::Relaxed) + self.loaded.load(Ordering::Relaxed)
    }

    fn begin(&self, key: usize) -> (Begun, i64) {
        (
            self.history.begin(key),
            self.committed[key].load(Ordering::SeqCst),
        )
    }

    fn judge(&self, (begun, committed): (Begun, i64), answer: &Lookup) -> anyhow::Result<()> {
        let Lookup::Found(entry) = answer else {
            anyhow::bail!("product {} was not found", self.products[begun.key]);
        };
        let version = entry.version.get();
        anyhow::ensure!(
            entry.body == version.to_string(),
            "an entry holds {:?}",
            entry.body
        );
        let count = match entry.status {
            CacheStatus::Hit | CacheStatus::HitStale | CacheStatus::HitOnError => &self.hits,
            CacheStatus::HitLocal => &self.local,
            CacheStatus::Awaited(_)
            | CacheStatus::Collapsed(_)
            | CacheStatus::Stored(_)
            | CacheStatus::Loaded(_) => &self.loaded,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let local = entry.status == CacheStatus::HitLocal;
        if version < committed && !local {
            self.behind.fetch_add(1, Ordering::Relaxed);
        }
        let grace = if local { REMEMBERED } else { Duration::ZERO };
        if let Some(stale) = begun.judge(&self.history, version, grace) {
            let mut all = self.stale.lock().expect("nothing panics while it holds the lock");
            if all.len() < EXAMPLES {
                all.push(stale);
            }
        }
        Ok(())
    }

    fn failed(&self, error: &Unavailable) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "a read failed");
    }
}

/// Reads until the book says stop.
pub(super) async fn start(
    book: &Arc<Book>,
    redis: &str,
    postgres: &str,
    lagging: bool,
) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
    let mut readers = Vec::new();
    for _ in 0..PROCESSES {
        let cache = Cache::start(&CacheArgs::at(redis), LOADS).await?;
        let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(postgres);
        let pool = Pool::builder(manager)
            .max_size(LOADS)
            .build()
            .context("cannot make a pool")?;
        let products = cache.namespace(Rows { pool, lagging }, Policy::default())?;
        for number in 0..READERS {
            let (book, products) = (Arc::clone(book), products.clone());
            readers.push(tokio::spawn(async move {
                while !book.stopped() {
                    if number.is_multiple_of(2) {
                        read_one(&book, &products, number).await?;
                    } else {
                        read_page(&book, &products).await?;
                    }
                    tokio::task::yield_now().await;
                }
                Ok(())
            }));
        }
    }
    Ok(readers)
}

async fn read_one(book: &Book, products: &Namespace<Rows>, reader: usize) -> anyhow::Result<()> {
    let hot = reader.is_multiple_of(4);
    let key = rand::random_range(0..if hot { HOT } else { book.products.len() });
    let begun = book.begin(key);
    match products.get(&book.products[key]).await {
        Ok(answer) => book.judge(begun, &answer)?,
        Err(error) => book.failed(&error),
    }
    Ok(())
}

async fn read_page(book: &Book, products: &Namespace<Rows>) -> anyhow::Result<()> {
    let first = rand::random_range(0..book.products.len());
    let keys: Vec<usize> = (first..first + PAGE)
        .map(|key| key % book.products.len())
        .collect();
    let ids: Vec<Uuid> = keys.iter().map(|key| book.products[*key]).collect();
    let begun: Vec<_> = keys.iter().map(|key| book.begin(*key)).collect();
    match products.get_many(&ids).await {
        Ok(answers) => {
            for (begun, answer) in begun.into_iter().zip(&answers) {
                book.judge(begun, answer)?;
            }
        }
        Err(error) => book.failed(&error),
    }
    Ok(())
}
