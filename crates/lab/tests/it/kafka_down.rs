//! Kafka is gone for a few seconds under load: no write fails, and all of it is in the log afterwards, in order.

use std::time::Duration;

use lab::scenarios::kafka_down::{self, Plan};
use lab::{Arena, Folder};

use crate::whole;

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_writes_go_on_and_are_published_in_order_once_it_is_back() {
    let _turn = whole::turn().await;
    let folder = Folder::make("test-kafka-down").unwrap();
    let options = folder.options(&whole::binaries()).unwrap();
    let mut arena = Arena::servers(folder, options)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    let plan = Plan {
        down: Duration::from_secs(5),
        before: Duration::from_secs(2),
        rate: 40,
    };
    let report = kafka_down::run(&mut arena.stack, plan)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    assert_eq!(report.checked.failures(), [""; 0]);
    assert!(report.waiting > 0, "nothing waited for Kafka");
    for writes in &report.writes {
        // A busy machine may shed some; none may fail.
        assert_eq!(writes.outcomes.failed, 0, "{}", writes.name);
        assert!(writes.outcomes.ok > 0, "{}", writes.name);
    }
    tokio::time::timeout(Duration::from_secs(60), arena.down())
        .await
        .unwrap();
}
