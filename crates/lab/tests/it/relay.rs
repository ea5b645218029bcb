//! The relay's owner is killed, suspended and stopped under load, Kafka and PostgreSQL are killed, and the log holds what was committed.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use lab::ledger::sources::Sources;
use lab::scenarios::{committed, relay_kill};
use lab::{Folder, LogWatch};

use crate::whole;

#[tokio::test(flavor = "multi_thread")]
async fn striking_the_relay_under_load_loses_and_inverts_nothing() {
    let _turn = whole::turn().await;
    let folder = Folder::make("test-relay").unwrap();
    let options = folder.options(&whole::binaries()).unwrap();
    let mut arena = relay_kill::arena(folder, options)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    let plan = relay_kill::Plan { kills: 10, rate: 60 };
    let report = relay_kill::run(&mut arena.stack, plan)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    assert_eq!(report.failures(), [""; 0]);
    for trouble in [
        "killed",
        "stopped",
        "suspended for 8 s",
        "Kafka killed",
        "PostgreSQL killed",
    ] {
        let seen = &report.troubles[trouble];
        assert!(!seen.over_after_ms.is_empty(), "{trouble}: {seen:?}");
    }
    assert!(report.troubles.contains_key("suspended briefly"));

    // A checker that can't fail would prove nothing: two versions that nobody published, and one that was taken back.
    let sources = Sources::of(&arena.stack).unwrap();
    let mut app = sources.connect_to_write("app").await.unwrap();
    app.batch_execute(
        "SET session_replication_role = replica;
         UPDATE orders SET version = version + 2 WHERE id = (SELECT min(id::text) FROM orders)::uuid;
         UPDATE orders SET version = version - 1 WHERE id = (SELECT max(id::text) FROM orders WHERE version > 1)::uuid",
    )
    .await
    .unwrap();
    let watch = LogWatch::start(&sources.kafka, &events::topics::ALL).unwrap();
    testkit::eventually("the log is read again", async || {
        let checked = committed::check(&sources, &watch).await.unwrap();
        (checked.lost == 2 && checked.ghosts == 1 && checked.unstated == 2).then_some(())
    })
    .await;
    watch.stop().await;
    drop(app);
    tokio::time::timeout(Duration::from_secs(60), arena.down())
        .await
        .unwrap();
}
