//! Owners that die, hang, are cut off, and come back.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::judge;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::fixture::{Fixture, execute, number, run_tail};
use crate::operator::Log;
use crate::reader::commit_one;
use crate::sinks::{Recorder, Seen, follow, relay, topic};

const URL: &str = "OUTBOX_TEST_CHILD_URL";
const TOPIC: &str = "OUTBOX_TEST_CHILD_TOPIC";

/// Not a test: what the tests below run as another process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs until it is killed"]
async fn a_relay_in_a_process_of_its_own() {
    let (Ok(url), Ok(topic)) = (std::env::var(URL), std::env::var(TOPIC)) else {
        return;
    };
    let _tail = run_tail(&url, relay(&topic));
    std::future::pending().await
}

struct Process(Child);

impl Process {
    fn start(fixture: &Fixture) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "takeover::a_relay_in_a_process_of_its_own",
                "--ignored",
            ])
            .env(URL, fixture.database.runtime_url())
            .env(TOPIC, fixture.topic)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Process(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Commits one version after another until told to stop.
fn keep_writing(fixture: &Arc<Fixture>) -> (watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    let fixture = fixture.clone();
    let writing = tokio::spawn(async move {
        let aggregates: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
        let mut conn = fixture.connect().await;
        for aggregate in aggregates.iter().cycle() {
            if *stopped.borrow() {
                return;
            }
            fixture.bump_in_txn(&mut conn, *aggregate).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (stop, writing)
}

async fn all_published(fixture: &Fixture, seen: &Seen) {
    let committed = fixture.committed().await;
    let published = seen.until_all(&committed).await;
    let verdict = judge(committed, published);
    assert!(verdict.is_clean(), "{verdict}");
}

async fn epoch(fixture: &Fixture, sink: &str) -> i64 {
    let sql = format!("SELECT epoch AS number FROM outbox_cursor WHERE sink = '{sink}'");
    number(&mut fixture.connect().await, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_or_stopped_owner_is_replaced_and_moves_no_cursor_when_it_wakes_up() {
    let topic = topic().await;
    let fixture = Arc::new(Fixture::publishing_to(topic).await);
    let seen = follow(topic);
    let (stop, writing) = keep_writing(&fixture);
    for signal in [Signal::KILL, Signal::STOP] {
        let owner = Process::start(&fixture);
        let so_far = seen.all().len();
        seen.until("the owner publishes", |copies| copies.len() > so_far + 10)
            .await;
        let before = epoch(&fixture, "kafka").await;
        owner.signal(signal);
        let since = Instant::now();
        let successor = fixture.tail(relay(topic));
        testkit::eventually("another owner", async || {
            (epoch(&fixture, "kafka").await > before).then_some(())
        })
        .await;
        // Printed, and not asserted on: the machine may be busy. The lease lasts for 5 s.
        println!("took over after {signal:?} in {:?}", since.elapsed());
        let so_far = seen.all().len();
        seen.until("the successor publishes", |copies| copies.len() > so_far + 10)
            .await;
        let after = epoch(&fixture, "kafka").await;
        if signal == Signal::STOP {
            owner.signal(Signal::CONT);
            // It notices at its next save or renewal, starts again and finds the lease taken.
            let so_far = seen.all().len();
            seen.until("both have had time", |copies| copies.len() > so_far + 200)
                .await;
            assert_eq!(
                epoch(&fixture, "kafka").await,
                after,
                "the lease is still the successor's"
            );
        }
        drop(owner);
        successor.stop().await;
    }
    stop.send_replace(true);
    writing.await.unwrap();
    let last = fixture.tail(relay(topic));
    all_published(&fixture, &seen).await;
    last.stop().await;
}

/// Passes bytes on until it is told to freeze; then it holds the connections and passes nothing.
#[tokio::test]
async fn an_owner_whose_epoch_is_over_saves_nothing() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    commit_one(&fixture, Uuid::now_v7()).await;
    sink.seen.until("it owns the tail", |seen| seen.len() == 1).await;
    let mut conn = fixture.owner().await;
    let taken = "UPDATE outbox_cursor SET epoch = epoch + 1, owner = 'another', lease_until = 'infinity' WHERE sink = 'cache'";
    execute(&mut conn, taken).await;
    let row = "SELECT hashtextextended(cursor::text, 0) AS number FROM outbox_cursor AS cursor WHERE sink = 'cache'";
    let before = number(&mut conn, row).await;
    // A save is due a quarter of a second after this.
    commit_one(&fixture, Uuid::now_v7()).await;
    log.says("no longer this replica's").await;
    assert_eq!(number(&mut conn, row).await, before);
    tail.stop().await;
}

async fn proxy(to: String, frozen: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (to, mut frozen) = (to.clone(), frozen.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let frozen = async {
                    let _ = frozen.wait_for(|frozen| *frozen).await;
                };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    () = frozen => std::future::pending().await,
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_cut_off_from_the_database_is_replaced() {
    let fixture = Arc::new(Fixture::new().await);
    let url = fixture.database.runtime_url();
    let (before, rest) = url.split_once('@').unwrap();
    let (address, database) = rest.split_once('/').unwrap();
    let (freeze, frozen) = watch::channel(false);
    let through = format!("{before}@{}/{database}", proxy(address.to_owned(), frozen).await);
    let (cut_off, successor) = (Recorder::default(), Recorder::default());
    let owner = run_tail(&through, cut_off.clone());
    let aggregate = Uuid::now_v7();
    commit_one(&fixture, aggregate).await;
    cut_off
        .seen
        .until("the owner delivers", |seen| seen.contains(&(aggregate, 1)))
        .await;
    freeze.send_replace(true);
    let next = fixture.tail(successor.clone());
    commit_one(&fixture, aggregate).await;
    successor
        .seen
        .until("the successor delivers", |seen| seen.contains(&(aggregate, 2)))
        .await;
    next.stop().await;
    owner.crash().await;
}
