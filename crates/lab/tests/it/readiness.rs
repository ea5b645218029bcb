//! What `/livez` and `/readyz` of the real processes say while a server is away, and once it is back.

use std::time::{Duration, Instant};

use serde_json::Value;
use stack::Server;
use testkit::eventually;

use crate::shop::Shop;
use crate::whole::{self, WholeStack};

const CONSUMERS: [&str; 3] = ["analytics-consumer", "email-consumer", "audit-consumer"];
const EVERYBODY: [&str; 5] = [
    "gateway",
    "app-service",
    "analytics-consumer",
    "email-consumer",
    "audit-consumer",
];

/// More than the database's probe takes to give up, which is the slowest that anybody takes to notice anything.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

async fn asked(whole: &WholeStack, process: &str, probe: &str) -> u16 {
    let of_it = whole.processes().iter().find(|each| each.name == process);
    let url = format!("{}/{probe}", of_it.unwrap().admin);
    whole.http.get(url).send().await.unwrap().status().as_u16()
}

/// All of them come to say `status`.
async fn turn(whole: &WholeStack, processes: &[&str], status: u16) {
    for process in processes {
        eventually(&format!("/readyz of {process} is {status}"), async || {
            (asked(whole, process, "readyz").await == status).then_some(())
        })
        .await;
    }
}

/// Everybody lives, and those in `ready` are ready, each time they are asked.
async fn stay(whole: &WholeStack, ready: &[&str], without: &str) {
    let begun = Instant::now();
    while begun.elapsed() < LONG_ENOUGH {
        for process in EVERYBODY {
            let live = asked(whole, process, "livez").await;
            assert_eq!(live, 200, "/livez of {process} without {without}");
        }
        for process in ready {
            let is_ready = asked(whole, process, "readyz").await;
            assert_eq!(is_ready, 200, "/readyz of {process} without {without}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a process said of its troubles names their type. librdkafka's own lines say of themselves no more than their text.
fn check_log(whole: &WholeStack, process: &str) {
    let of_it = whole.processes().iter().find(|each| each.name == process);
    let log = std::fs::read_to_string(&of_it.unwrap().log).unwrap();
    let troubles: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["level"] == "WARN" || line["level"] == "ERROR")
        .filter(|line| line["target"] != "librdkafka")
        .collect();
    assert!(!troubles.is_empty(), "{process} says nothing of its troubles");
    for line in troubles {
        assert!(
            line["error.type"].is_string(),
            "{process}: no error.type in {line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_alone_makes_processes_unready_and_nothing_that_is_away_makes_one_dead() {
    let mut whole = whole::start("readiness", Vec::new()).await;
    turn(&whole, &EVERYBODY, 200).await;

    whole.stack.pause_server(Server::Redis).unwrap();
    stay(&whole, &EVERYBODY, "Redis").await;
    whole.stack.resume_server(Server::Redis).unwrap();

    whole.stack.kill_server(Server::Kafka).unwrap();
    // A consumer that has joined stays ready: its API answers, and no replica of it would do better.
    stay(&whole, &EVERYBODY, "Kafka").await;
    whole.stack.start_server(Server::Kafka).await.unwrap();
    let shop = Shop::open(&whole);
    let product = shop.product("READY-1", 100, 1).await;
    eventually("what happened is told again", async || {
        (!shop.timeline("product", &product).await.is_empty()).then_some(())
    })
    .await;

    whole.stack.kill_server(Server::Postgres).unwrap();
    turn(&whole, &["app-service"], 503).await;
    turn(&whole, &CONSUMERS, 503).await;
    stay(&whole, &["gateway"], "PostgreSQL").await;
    whole.stack.start_server(Server::Postgres).await.unwrap();
    turn(&whole, &EVERYBODY, 200).await;

    for process in CONSUMERS {
        check_log(&whole, process);
    }
    whole.down().await;
}
