//! A rolling restart that no client notices.

use lab::scenarios::roll;

use crate::whole;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_leaves_no_request_without_an_answer() {
    let mut whole = whole::start_with("roll", |folder, options| {
        options.replicas = roll::replicas();
        options.env = roll::environment(folder).unwrap();
    })
    .await;
    let plan = roll::Plan {
        rounds: 1,
        connections: 16,
    };
    let report = roll::run(&mut whole.stack, plan)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    assert_eq!(report.failures(), [""; 0]);
    // Both replicas of the gateway were restarted, so every client was told to go at least once.
    assert!(report.answers.told_to_go >= 16, "{report}");
    whole.down().await;
}
