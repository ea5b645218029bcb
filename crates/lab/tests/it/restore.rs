//! The databases go back to a cold copy after more was written and published.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::deserialize::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use lab::ledger::Ledger;
use lab::ledger::sources::Sources;
use lab::load::Load;
use lab::load::shop::Shop;
use lab::{Arena, Folder};
use stack::{Server, Stack};
use testkit::eventually;
use tokio::process::Command;

use crate::whole;

/// How long the consumers may take to catch up.
const SETTLE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_the_tails_stop_and_once_restated_every_consumer_converges() {
    let _turn = whole::turn().await;
    let folder = Folder::make("test-restore").unwrap();
    let options = folder.options(&whole::binaries()).unwrap();
    let mut arena = Arena::up(folder, options)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    let sources = Sources::of(&arena.stack).unwrap();
    let data = data_directory(&sources).await;
    let backup = arena.folder.path().join("backup");

    sell(&arena.stack, "kept").await;
    settled(&sources).await;
    arena.stack.kill_server(Server::Postgres).unwrap();
    copy(Path::new(&data), &backup).await;
    arena.stack.start_server(Server::Postgres).await.unwrap();
    sell(&arena.stack, "lost").await;
    settled(&sources).await;

    arena.stack.kill_server(Server::Postgres).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, Path::new(&data)).await;
    arena.stack.start_server(Server::Postgres).await.unwrap();
    let admin = arena.stack.admin_url("app-service", 1).unwrap();
    for sink in ["kafka", "cache"] {
        let halted = format!("outbox_halted{{sink=\"{sink}\"}} 1");
        eventually("the tail stops", async || {
            let metrics = reqwest::get(format!("{admin}/metrics")).await.ok()?;
            metrics.text().await.ok()?.contains(&halted).then_some(())
        })
        .await;
    }
    // Their positions went back as well. While they run they would see it at the next record of each partition.
    for consumer in ["analytics-consumer", "audit-consumer", "email-consumer"] {
        arena.stack.kill(consumer, 1).unwrap();
        arena.stack.start(consumer, 1).await.unwrap();
    }
    // What is sold meanwhile has versions that the consumers have seen before.
    sell(&arena.stack, "again").await;

    let restated = Command::new(whole::binaries().join("app-service"))
        .args(["outbox", "restate", "--after-restore"])
        .env("DATABASE_URL", arena.stack.postgres_url("app_runtime", "app"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&restated.stdout);
    assert!(restated.status.success(), "{restated:?}");
    assert!(said.contains("generation 1 is open"), "{said}");
    sell(&arena.stack, "after").await;
    let ledger = settled(&sources).await;
    let balance = &ledger.balance;
    assert!(balance.beside.lost_future > 0, "{ledger}");
    for place in [balance.outbox, balance.audit, balance.analytics] {
        assert_eq!(place.lost + place.ghosts + place.doubled, 0, "{ledger}");
    }
    assert_eq!(balance.mails.missing, 0, "{ledger}");
    tokio::time::timeout(Duration::from_secs(60), arena.down())
        .await
        .unwrap();
}

/// Some orders, in a shop of that name.
async fn sell(stack: &Stack, name: &str) {
    let shop = eventually("the shop opens", async || {
        Shop::open(stack, name, 5, 5).await.ok()
    })
    .await;
    let load = Load::start(Arc::new(shop), 30);
    let witness = load.witness();
    eventually("orders", async || (witness.placed() >= 40).then_some(())).await;
    load.stop().await;
}

async fn settled(sources: &Sources) -> Ledger {
    let ledger = Ledger::read(sources, SETTLE)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert!(ledger.settled, "{ledger}");
    ledger
}

async fn data_directory(sources: &Sources) -> String {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        setting: String,
    }
    let mut conn = sources.connect_to_write("app").await.unwrap();
    let row: Setting = diesel::sql_query("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
        .get_result(&mut conn)
        .await
        .unwrap();
    row.setting
}

/// With owners and rights.
async fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}
