//! Redis is down, hangs, is slow or full, refuses, or goes and comes back empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache::{Cache, CacheArgs, CacheStatus, Forward, Lookup, Namespace, Unavailable};
use futures_util::future::join_all;
use rustix::process::Signal;
use testkit::{Mood, Proxy};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::counted::{self, count};
use crate::server::Server;
use crate::shelf::{
    BYPASSED, LOADED, LOCAL, STORED, Shelf, found, lasting, process, read, redis, settings, until_hit,
    version,
};

#[tokio::test]
async fn without_redis_reads_come_from_the_source_and_writes_go_on() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind("redis://127.0.0.1:1").await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    assert_eq!(read(&shelf, key).await, found(1, "mug", BYPASSED));
    rows.put(key, 2, "cup");
    shelf.invalidate(&key, version(2)).await;
    assert_eq!(read(&shelf, key).await, found(2, "cup", BYPASSED));
}

#[tokio::test]
async fn a_redis_that_accepts_and_never_answers_is_treated_as_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&format!("redis://{address}")).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    assert_eq!(read(&shelf, key).await, found(1, "mug", BYPASSED));
}

#[tokio::test]
async fn reads_survive_a_redis_that_stops_answering_and_hit_again_when_it_is_back() {
    let proxy = Proxy::before(&redis()).await.unwrap();
    let rows = Shelf::<1>::default();
    let hurried = CacheArgs {
        redis_command_timeout: Duration::from_millis(25),
        ..settings(proxy.url())
    };
    let shelf = rows.of(&process(&hurried).await, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    until_hit(&shelf, key).await;

    for mood in [Mood::Silent, Mood::Closed] {
        proxy.set(mood);
        testkit::eventually("redis is out of reach", async || {
            (read(&shelf, key).await == found(1, "mug", LOCAL)).then_some(())
        })
        .await;
        for _ in 0..20 {
            let (version, body, how) = read(&shelf, key).await.unwrap();
            assert_eq!((version, body.as_str()), (1, "mug"));
            assert!(how == LOCAL || how == BYPASSED, "{how:?}");
        }
        proxy.set(Mood::Open);
        until_hit(&shelf, key).await;
    }
}

#[tokio::test]
async fn a_source_that_fails_is_the_reader_s_error() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&redis()).await;
    rows.breaks("the database is down");
    let refused = shelf.get(&Uuid::now_v7()).await.unwrap_err();
    assert!(matches!(refused, Unavailable::Failed(cause) if cause.to_string() == "the database is down"));
}

/// What happens to a Redis, and how it ends.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Stopped,
    Slow,
    Full,
    RefusesWrites,
    WrongPassword,
    ReplacedByAnEmptyOne,
    Flushed,
}

struct Patient {
    server: Server,
    proxy: Proxy,
}

impl Patient {
    async fn new() -> Patient {
        let server = Server::start(&[
            ("maxmemory", "8mb"),
            ("maxmemory-policy", "noeviction"),
            ("user", "default on >secret ~* &* +@all"),
        ]);
        let url = format!("redis://default:secret@127.0.0.1:{}", server.port());
        let proxy = Proxy::before(&url).await.unwrap();
        Patient { server, proxy }
    }

    fn ask(&self, command: &[&str]) {
        let url = format!("redis://default:secret@127.0.0.1:{}", self.server.port());
        let (name, arguments) = command.split_first().unwrap();
        deadpool_redis::redis::cmd(name)
            .arg(arguments)
            .query::<deadpool_redis::redis::Value>(&mut crate::server::connect(&url))
            .unwrap();
    }

    fn falls_ill(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.server.kill(),
            Fault::Stopped => self.server.signal(Signal::STOP),
            Fault::Slow => self.proxy.set(Mood::Slow(Duration::from_millis(200))),
            Fault::Full => self.ask(&["CONFIG", "SET", "maxmemory", "1"]),
            Fault::RefusesWrites => self.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]),
            Fault::WrongPassword => {
                self.ask(&["ACL", "SETUSER", "other", "on", ">other", "~*", "+@all"]);
                self.ask(&["ACL", "SETUSER", "default", "resetpass", ">changed"]);
                // As a server that was started with another password; the connections there are end.
                self.proxy.set(Mood::Closed);
                self.proxy.set(Mood::Open);
            }
            Fault::ReplacedByAnEmptyOne => self.server.replace(),
            Fault::Flushed => self.ask(&["FLUSHALL"]),
        }
    }

    fn recovers(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.server.replace(),
            Fault::Stopped => self.server.signal(Signal::CONT),
            Fault::Slow => self.proxy.set(Mood::Open),
            Fault::Full => self.ask(&["CONFIG", "SET", "maxmemory", "8mb"]),
            Fault::RefusesWrites => self.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]),
            Fault::WrongPassword => {
                let url = format!("redis://other:other@127.0.0.1:{}", self.server.port());
                deadpool_redis::redis::cmd("ACL")
                    .arg(&["SETUSER", "default", "resetpass", ">secret"])
                    .query::<()>(&mut crate::server::connect(&url))
                    .unwrap();
            }
            Fault::ReplacedByAnEmptyOne | Fault::Flushed => {}
        }
    }
}

/// Readers that go on until they are told; how often they read.
fn readers(
    shelf: &Namespace<Shelf>,
    keys: &Arc<[Uuid]>,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<usize>> {
    (0..8)
        .map(|reader: usize| {
            let (shelf, keys, stop) = (shelf.clone(), Arc::clone(keys), Arc::clone(stop));
            tokio::spawn(async move {
                let mut reads = 0;
                while !stop.load(Ordering::SeqCst) {
                    let key = keys[(reads * 7 + reader) % keys.len()];
                    let lookup = shelf.get(&key).await.expect("no read fails because Redis failed");
                    assert!(matches!(lookup, Lookup::Found(_)));
                    reads += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                reads
            })
        })
        .collect()
}

async fn check(fault: Fault) {
    let mut patient = Patient::new().await;
    let rows = Shelf::<1>::default();
    rows.slow(Duration::from_millis(2));
    let hurried = CacheArgs {
        redis_command_timeout: Duration::from_millis(25),
        ..settings(patient.proxy.url())
    };
    let shelf = rows.of(&process(&hurried).await, lasting());
    let keys: Arc<[Uuid]> = (0..20).map(|_| Uuid::now_v7()).collect();
    for key in keys.iter() {
        rows.put(*key, 1, "mug");
    }
    until_hit(&shelf, keys[0]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reading = readers(&shelf, &keys, &stop);
    patient.falls_ill(fault);
    tokio::time::sleep(Duration::from_millis(700)).await;
    // What is not in Redis has to be loaded, whatever it says.
    let missing = Uuid::now_v7();
    rows.put(missing, 1, "mug");
    assert_eq!(read(&shelf, missing).await.unwrap().0, 1, "{fault:?}");
    shelf.invalidate(&keys[0], version(1)).await;
    patient.recovers(fault);
    until_hit(&shelf, keys[0]).await;
    stop.store(true, Ordering::SeqCst);
    let mut reads = 0;
    for reader in reading {
        reads += reader.await.unwrap();
    }
    let (_, most) = rows.running();
    assert!(
        most <= 4,
        "{fault:?}: {most} loads at once, of 4 that the bulkhead allows"
    );
    assert!(reads > 100, "{fault:?}: {reads} reads");
}

macro_rules! no_read_fails_while_redis_is {
    ($($name:ident: $fault:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check($fault).await;
        })*
    };
}

no_read_fails_while_redis_is! {
    no_read_fails_while_redis_is_killed: Fault::Killed;
    no_read_fails_while_redis_is_stopped: Fault::Stopped;
    no_read_fails_while_redis_is_slow: Fault::Slow;
    no_read_fails_while_redis_is_out_of_memory: Fault::Full;
    no_read_fails_while_redis_refuses_writes: Fault::RefusesWrites;
    no_read_fails_while_redis_has_another_password: Fault::WrongPassword;
    no_read_fails_while_redis_is_replaced_by_an_empty_one: Fault::ReplacedByAnEmptyOne;
    no_read_fails_while_redis_is_flushed: Fault::Flushed;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_loads_than_the_database_is_given_are_shed() {
    let rows = Shelf::<1>::default();
    let cache = Cache::start(&settings("redis://127.0.0.1:1"), 1).await.unwrap();
    let shelf = rows.of(&cache, lasting());
    let keys: Vec<Uuid> = (0..300).map(|_| Uuid::now_v7()).collect();
    for key in &keys {
        rows.put(*key, 1, "mug");
    }
    rows.slow(Duration::from_millis(100));
    let answers = join_all(keys.iter().map(|key| shelf.get(key))).await;
    let (mut found, mut shed) = (0, 0);
    for answer in answers {
        match answer {
            Ok(Lookup::Found(_)) => found += 1,
            Err(Unavailable::Shed) => shed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rows.running(), (0, 1));
    // 100 may wait, and of them only those whose turn comes within a second are served.
    assert!(found >= 1 && shed >= 200, "{found} found, {shed} shed");
}

#[tokio::test]
async fn while_redis_is_out_of_reach_one_load_a_second_serves_all_readers_of_an_entry() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind("redis://127.0.0.1:1").await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let started = std::time::Instant::now();
    assert_eq!(read(&shelf, key).await, found(1, "mug", BYPASSED));
    for _ in 0..100 {
        read(&shelf, key).await;
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(rows.loads() <= 1 + seconds);
    // This process's own writes are seen at once.
    rows.put(key, 2, "cup");
    shelf.invalidate(&key, version(2)).await;
    assert_eq!(read(&shelf, key).await, found(2, "cup", BYPASSED));
}

#[tokio::test]
async fn who_joins_a_load_without_redis_is_told_so() {
    let rows = Shelf::<1>::default();
    let shelf = rows.behind("redis://127.0.0.1:1").await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let gate = rows.gate();
    // The second joins after the first one's load was sent, and is served by the next.
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let shelf = shelf.clone();
            tokio::spawn(async move { read(&shelf, key).await })
        })
        .collect();
    gate.reached.acquire().await.unwrap().forget();
    gate.open.add_permits(1);
    let collapsed = CacheStatus::Collapsed(Forward::Bypass);
    for (reader, how) in readers.into_iter().zip([BYPASSED, collapsed]) {
        assert_eq!(reader.await.unwrap(), found(1, "mug", how));
    }
}

#[tokio::test]
async fn what_redis_has_no_room_for_is_answered_and_counted() {
    counted::listen();
    let server = Server::start(&[("maxmemory-policy", "noeviction")]);
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&server.url()).await;
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let full = || count("cache_populates_total", &["shelf", "full"]);
    let before = full();
    let gate = rows.gate();
    let reader = tokio::spawn({
        let shelf = shelf.clone();
        async move { read(&shelf, key).await }
    });
    // It has its lease already.
    gate.reached.acquire().await.unwrap().forget();
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    gate.open.add_permits(1);
    assert_eq!(reader.await.unwrap(), found(1, "mug", LOADED));
    assert!(full() > before);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_commands_are_on_their_way_than_are_allowed() {
    const READERS: u64 = 1_000;
    const ALLOWED: u64 = 512;
    let server = Server::start(&[]);
    let proxy = Proxy::before(&server.url()).await.unwrap();
    let rows = Shelf::<1>::default();
    let hurried = CacheArgs {
        redis_command_timeout: Duration::from_secs(1),
        ..settings(proxy.url())
    };
    let cache = Cache::start(&hurried, 100).await.unwrap();
    let shelf = rows.of(&cache, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    read(&shelf, key).await;
    proxy.set(Mood::Mute);
    let sent = || server.commands().get("get").copied().unwrap_or(0);
    let before = sent();
    let keys: Vec<Uuid> = (0..READERS).map(|_| Uuid::now_v7()).collect();
    for key in &keys {
        rows.put(*key, 1, "mug");
    }
    for answer in join_all(keys.iter().map(|key| shelf.get(key))).await {
        assert!(matches!(answer.unwrap(), Lookup::Found(_)));
    }
    let sent = sent() - before;
    // The watermark is looked at meanwhile.
    assert!((ALLOWED / 2..=ALLOWED + 50).contains(&sent), "{sent}");
}
