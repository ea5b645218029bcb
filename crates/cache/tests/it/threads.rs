//! A thread with a runtime of its own, as a worker of an HTTP server, has a connection of its own.

use std::sync::mpsc;
use std::time::Duration;

use cache::{CacheStatus, Namespace};
use uuid::Uuid;

use crate::server::Server;
use crate::shelf::{self, HIT, Shelf, read};

/// Reads on a thread and a runtime of its own, once for each word that is sent.
fn worker(namespace: Namespace<Shelf>, key: Uuid) -> (mpsc::Sender<()>, mpsc::Receiver<CacheStatus>) {
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            while asked.recv().is_ok() {
                let (_, _, how) = read(&namespace, key).await.unwrap();
                // Lets the runtime do what it does in the background.
                tokio::time::sleep(Duration::from_millis(5)).await;
                answer.send(how).unwrap();
            }
        });
    });
    (ask, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_reads_over_its_own_connection_and_gets_another_when_it_breaks() {
    let server = Server::start(&[]);
    let rows: Shelf = Shelf::default();
    let key = Uuid::now_v7();
    rows.put(key, 1, "one");
    let namespace = rows.of(
        &shelf::process(&shelf::settings(&server.url())).await,
        shelf::lasting(),
    );
    let (ask, answers) = worker(namespace, key);
    let look = || {
        ask.send(()).unwrap();
        answers.recv_timeout(Duration::from_secs(30)).unwrap()
    };
    // The cache's, the worker's, and the one that asks.
    let connections = || {
        let clients: String = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
        clients.lines().count()
    };
    for _ in 0..2 {
        testkit::eventually("the worker has a connection and hits", async || {
            (look() == HIT && connections() == 3).then_some(())
        })
        .await;
        let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
    testkit::eventually("it hits again", async || (look() == HIT).then_some(())).await;
}
