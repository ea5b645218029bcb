//! Reads through app-service while Redis is killed, stopped, slow, out of memory, refusing writes, has another password, or is replaced
//! by an empty one, at a load that the database is given: none fails, and the database sees no more loads at once than the bulkhead lets
//! through.

mod report;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::AsyncPgConnection;
use reqwest::StatusCode;
use serde::Serialize;
use stack::{Server, Stack};
use testkit::{Mood, Proxy};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

pub use self::report::{Phase, Report, Suffered};
use crate::Arena;
use crate::ledger::sources::Sources;
use crate::scenarios::redis_admin::RedisAdmin;
use crate::scenarios::storefront::Storefront;

const PRODUCTS: usize = 100;
/// How long reads are measured before each fault, and again after its recovery.
const WELL: Duration = Duration::from_secs(3);
/// How long recovering may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// How often the database is asked for what it is doing.
const SAMPLE: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(200);
/// Half of DB_MAX_CONNECTIONS, whose default is 10.
const BULKHEAD: i64 = 5;

/// For how long, and under which load.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Reads per second, of 100 products in turn
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(50..=10_000))]
    pub rate: u32,
    /// How long each fault lasts
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub lasting: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Killed,
    Stopped,
    Slow,
    OutOfMemory,
    RefusesWrites,
    OtherPassword,
    Emptied,
}

const ALL: [Fault; 7] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Slow,
    Fault::OutOfMemory,
    Fault::RefusesWrites,
    Fault::OtherPassword,
    Fault::Emptied,
];

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Stopped => "stopped (SIGSTOP)",
            Fault::Slow => "200 ms slow",
            Fault::OutOfMemory => "out of memory",
            Fault::RefusesWrites => "refuses writes",
            Fault::OtherPassword => "wrong password",
            Fault::Emptied => "replaced by an empty one",
        }
    }
}

/// Runs the scenario on servers without processes.
///
/// # Errors
/// When the system does not come back.
pub async fn run(arena: &mut Arena, plan: Plan) -> anyhow::Result<Report> {
    let sources = Sources::of(&arena.stack)?;
    let url = arena.stack.redis_url("app-service");
    let proxy = Proxy::before(&url).await?;
    arena
        .stack
        .set_environment(vec![("REDIS_URL".to_owned(), proxy.url().to_owned())]);
    arena.stack.start("app-service", 1).await?;
    let storefront = Arc::new(Storefront::open(&arena.stack, arena.folder.path(), PRODUCTS).await?);
    let patient = Patient {
        redis: RedisAdmin::at(&arena.stack.redis_url("admin"))?,
        url,
        proxy,
        stack: &mut arena.stack,
    };
    let readers = Readers::start(storefront, plan.rate);
    let loads = Loads::watch(&sources).await?;
    let suffered = suffer_all(patient, &readers, &loads, plan.lasting).await;
    readers.stop().await?;
    loads.stop().await?;
    Ok(Report { suffered: suffered? })
}

async fn suffer_all(
    mut patient: Patient<'_>,
    readers: &Readers,
    loads: &Loads,
    lasting: Duration,
) -> anyhow::Result<Vec<Suffered>> {
    let mut all = Vec::new();
    readers.until_all_hit().await?;
    for fault in ALL {
        tracing::info!("redis: {}", fault.name());
        readers.take();
        sleep(WELL).await;
        let before = readers.take();
        loads.take();
        patient.falls_ill(fault).await?;
        // An empty one is well at once: what it makes readers suffer is its recovery.
        let lasts = fault != Fault::Emptied;
        let mut during = Phase::default();
        if lasts {
            sleep(lasting).await;
            during = readers.take();
            patient.recovers(fault).await?;
        }
        let healed = Instant::now();
        readers.until_all_hit().await?;
        let recovery = healed.elapsed();
        if !lasts {
            during = readers.take();
        }
        let most_loads = loads.take();
        sleep(WELL).await;
        let after = readers.take();
        all.push(Suffered {
            fault: fault.name(),
            before,
            during,
            after,
            most_loads,
            bulkhead: BULKHEAD,
            recovery_seconds: recovery.as_secs_f64(),
        });
    }
    Ok(all)
}

/// Redis, and the way to it.
struct Patient<'a> {
    stack: &'a mut Stack,
    redis: RedisAdmin,
    proxy: Proxy,
    /// With app-service's password.
    url: String,
}

impl Patient<'_> {
    async fn falls_ill(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.stack.kill_server(Server::Redis),
            Fault::Stopped => self.stack.pause_server(Server::Redis),
            Fault::Slow => {
                self.proxy.set(Mood::Slow(SLOW));
                Ok(())
            }
            Fault::OutOfMemory => {
                self.redis.set("maxmemory-policy", "noeviction").await?;
                self.redis.set("maxmemory", "1").await
            }
            Fault::RefusesWrites => self.redis.set("min-replicas-to-write", "1").await,
            Fault::OtherPassword => {
                self.password("somebody-else's").await?;
                self.redis
                    .ask::<i64>(&["CLIENT", "KILL", "USER", "app-service"])
                    .await?;
                Ok(())
            }
            Fault::Emptied => {
                self.stack.kill_server(Server::Redis)?;
                self.stack.start_server(Server::Redis).await
            }
        }
    }

    async fn recovers(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.stack.start_server(Server::Redis).await,
            Fault::Stopped => self.stack.resume_server(Server::Redis),
            Fault::Slow => {
                self.proxy.set(Mood::Open);
                Ok(())
            }
            Fault::OutOfMemory => {
                self.redis.set("maxmemory", "256mb").await?;
                self.redis.set("maxmemory-policy", "allkeys-lru").await
            }
            Fault::RefusesWrites => self.redis.set("min-replicas-to-write", "0").await,
            Fault::OtherPassword => {
                let right = password_of(&self.url)
                    .context("the Redis URL has no password")?
                    .to_owned();
                self.password(&right).await
            }
            Fault::Emptied => Ok(()),
        }
    }

    async fn password(&self, password: &str) -> anyhow::Result<()> {
        let password = format!(">{password}");
        self.redis
            .ask::<()>(&["ACL", "SETUSER", "app-service", "resetpass", &password])
            .await
    }
}

fn password_of(url: &str) -> Option<&str> {
    let (user, _) = url.split_once("://")?.1.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

/// Reads at a steady rate, of one product after another.
struct Readers {
    book: Arc<Book>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct Book {
    phase: Mutex<Phase>,
    /// How many answers in a row, up to now, were hits.
    hits: AtomicI64,
    stop: AtomicBool,
}

impl Readers {
    fn start(storefront: Arc<Storefront>, rate: u32) -> Readers {
        let book = Arc::new(Book::default());
        let reading = tokio::spawn(read(storefront, Arc::clone(&book), rate));
        Readers { book, reading }
    }

    /// What was answered since the last call.
    fn take(&self) -> Phase {
        std::mem::take(
            &mut self
                .book
                .phase
                .lock()
                .expect("nothing panics while it holds the lock"),
        )
    }

    /// Returns when every product was a hit.
    async fn until_all_hit(&self) -> anyhow::Result<()> {
        self.book.hits.store(0, Ordering::SeqCst);
        let all = i64::try_from(PRODUCTS)?;
        let hits = async {
            while self.book.hits.load(Ordering::SeqCst) < all {
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, hits).await.context("reads don't hit")
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.book.stop.store(true, Ordering::SeqCst);
        self.reading.await.context("a reader panicked")
    }
}

async fn read(storefront: Arc<Storefront>, book: Arc<Book>, rate: u32) {
    let mut due = interval(Duration::from_secs(1) / rate);
    // An open loop: a slow answer does not make the next reader wait.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut reading = JoinSet::new();
    for number in 0.. {
        due.tick().await;
        if book.stop.load(Ordering::SeqCst) {
            break;
        }
        let (storefront, book) = (Arc::clone(&storefront), Arc::clone(&book));
        reading.spawn(async move { read_one(&storefront, &book, number).await });
        while reading.try_join_next().is_some() {}
    }
    reading.join_all().await;
}

async fn read_one(storefront: &Storefront, book: &Book, number: usize) {
    let began = Instant::now();
    let answer = async {
        let answer = storefront.look(number).await?;
        let status = answer.status();
        let how = answer
            .headers()
            .get("cache-status")
            .and_then(|how| how.to_str().ok());
        let hit = how.is_some_and(|how| how == "plumbline; hit");
        answer.bytes().await?;
        anyhow::Ok((status, hit))
    };
    let answer = answer.await;
    let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
    let mut phase = book.phase.lock().expect("nothing panics while it holds the lock");
    match answer {
        Ok((StatusCode::OK, hit)) => {
            phase.answered.push(took);
            phase.hits += u64::from(hit);
            match hit {
                true => book.hits.fetch_add(1, Ordering::SeqCst),
                false => book.hits.swap(0, Ordering::SeqCst),
            };
        }
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => phase.shed += 1,
        Ok((status, _)) => {
            tracing::warn!("a read was answered with {status}");
            phase.failed += 1;
        }
        Err(error) => {
            tracing::warn!("a read failed: {error:#}");
            phase.failed += 1;
        }
    }
}

/// The most loads of products that the database was seen to work on at once.
struct Loads {
    most: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<anyhow::Result<()>>,
}

#[derive(QueryableByName)]
struct Running {
    #[diesel(sql_type = BigInt)]
    running: i64,
}

impl Loads {
    async fn watch(sources: &Sources) -> anyhow::Result<Loads> {
        let mut conn = sources.connect("app").await?;
        let (most, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let watching = tokio::spawn({
            let (most, stop) = (Arc::clone(&most), Arc::clone(&stop));
            async move {
                while !stop.load(Ordering::SeqCst) {
                    most.fetch_max(running(&mut conn).await?, Ordering::SeqCst);
                    sleep(SAMPLE).await;
                }
                Ok(())
            }
        });
        Ok(Loads { most, stop, watching })
    }

    /// Since the last call.
    fn take(&self) -> i64 {
        self.most.swap(0, Ordering::SeqCst)
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        match self.watching.await {
            Ok(watched) => watched,
            Err(panicked) => bail!("nobody watched the database: {panicked}"),
        }
    }
}

async fn running(conn: &mut AsyncPgConnection) -> anyhow::Result<i64> {
    // Here alone: its `load` is not an atomic's.
    use diesel_async::RunQueryDsl as _;
    let running: Running = sql_query(
        r#"SELECT count(*) AS running FROM pg_stat_activity
           WHERE application_name = 'app-service' AND state = 'active' AND query LIKE 'SELECT%"product"%'"#,
    )
    .get_result(conn)
    .await?;
    Ok(running.running)
}
