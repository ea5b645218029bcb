//! Every process is killed under load, with work in flight, and nothing is lost or doubled.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use lab::ledger::sources::Sources;
use lab::ledger::{Ledger, Verdict};
use lab::scenarios::kill;

use crate::whole;

#[tokio::test(flavor = "multi_thread")]
async fn killing_each_process_under_load_loses_and_doubles_nothing() {
    let mut whole = whole::start("chaos", vec![]).await;
    let plan = kill::Plan { kills: 5, rate: 60 };
    let report = kill::run(&mut whole.stack, plan)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    assert_eq!(report.failures(), [""; 0]);
    assert!(report.ledger.balance.mails.sent > 0);

    // A ledger that can't fail would prove nothing.
    let sources = Sources::of(&whole.stack).unwrap();
    let mut audit = sources.connect_to_write("audit").await.unwrap();
    audit
        .batch_execute(
            "SET session_replication_role = replica;
             DELETE FROM audit_event WHERE ctid = (SELECT max(ctid) FROM audit_event WHERE aggregate_type = 'order')",
        )
        .await
        .unwrap();
    let ledger = Ledger::read(&sources, Duration::from_secs(60)).await.unwrap();
    println!("{ledger}");
    assert_eq!(ledger.verdict(), Verdict::NotBalanced);
    whole.down().await;
}
