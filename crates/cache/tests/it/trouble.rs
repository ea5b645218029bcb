//! Redis is down, hangs, or goes and comes back.

use std::sync::Arc;
use std::time::Duration;

use cache::{CacheArgs, Unavailable};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::shelf::{BYPASSED, HIT, LOCAL, Shelf, found, lasting, process, read, redis, settings, version};

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
    let proxy = Proxy::start().await;
    let rows = Shelf::<1>::default();
    let hurried = CacheArgs {
        redis_command_timeout: Duration::from_millis(25),
        ..settings(&proxy.url)
    };
    let shelf = rows.of(&process(&hurried).await, lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    testkit::eventually("redis is used", async || {
        (read(&shelf, key).await == found(1, "mug", HIT)).then_some(())
    })
    .await;

    for mood in [Mood::Silent, Mood::Closed] {
        proxy.mood.send_replace(mood);
        testkit::eventually("redis is out of reach", async || {
            (read(&shelf, key).await == found(1, "mug", LOCAL)).then_some(())
        })
        .await;
        for _ in 0..20 {
            let (version, body, how) = read(&shelf, key).await.unwrap();
            assert_eq!((version, body.as_str()), (1, "mug"));
            assert!(how == LOCAL || how == BYPASSED, "{how}");
        }
        proxy.mood.send_replace(Mood::Open);
        testkit::eventually("redis is used again", async || {
            (read(&shelf, key).await == found(1, "mug", HIT)).then_some(())
        })
        .await;
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

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Open,
    /// Connections stay, and nothing passes.
    Silent,
    /// Connections end, also new ones.
    Closed,
}

/// A TCP proxy to the real Redis.
struct Proxy {
    url: String,
    mood: Arc<watch::Sender<Mood>>,
}

impl Proxy {
    async fn start() -> Proxy {
        let url = redis();
        let (before, address) = url.rsplit_once('@').map_or_else(
            || ("redis://".to_owned(), url.trim_start_matches("redis://")),
            |(user, address)| (format!("{user}@"), address),
        );
        let upstream = address.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{before}{}", listener.local_addr().unwrap());
        let mood = Arc::new(watch::Sender::new(Mood::Open));
        tokio::spawn({
            let mood = Arc::clone(&mood);
            async move {
                while let Ok((inbound, _)) = listener.accept().await {
                    tokio::spawn(connect(inbound, upstream.clone(), mood.subscribe()));
                }
            }
        });
        Proxy { url, mood }
    }
}

async fn connect(mut inbound: TcpStream, upstream: String, mut mood: watch::Receiver<Mood>) {
    let mut outbound = TcpStream::connect(upstream).await.unwrap();
    loop {
        let now = *mood.borrow_and_update();
        match now {
            Mood::Closed => return,
            Mood::Silent => mood.changed().await.unwrap(),
            Mood::Open => tokio::select! {
                _ = mood.changed() => {}
                _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => return,
            },
        }
    }
}
