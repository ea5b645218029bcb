use std::time::Duration;

use analytics_consumer::Sales;
use consumer::{Consumer, ConsumerArgs};
use tokio::sync::oneshot;

use crate::orders::{Totals, cancelled, database, paid, placed, product, publish, totals};

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_log_holds_twice_count_once_and_a_cancellation_reverses() {
    let (database, topic) = (database().await, testkit::topic("sales", 2).await);
    let args = ConsumerArgs {
        kafka: testkit::kafka_args(),
        group_id: topic.clone(),
        session_timeout: Duration::from_secs(6),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let consumer = Consumer::new(&args, database.pool(), &[&topic], Sales);
    let running = tokio::spawn(consumer.run(
        async {
            let _ = stopped.await;
        },
        |_| {},
    ));

    let kept = placed(1, "EUR", &[(1, 2)]);
    let kept_paid = paid(&kept, 0);
    let dropped = placed(2, "EUR", &[(1, 1), (2, 1)]);
    let dropped_paid = paid(&dropped, 20);
    let dropped_cancelled = cancelled(&dropped_paid, 31);
    // A relay that restarts publishes what it had not noted: whole stretches come again.
    for order in [&kept, &kept_paid, &kept, &kept_paid, &kept_paid] {
        publish(&topic, order, 0).await;
    }
    for order in [
        &dropped,
        &dropped_paid,
        &dropped_cancelled,
        &dropped_paid,
        &dropped_cancelled,
    ] {
        publish(&topic, order, 1).await;
    }

    let expected = Totals {
        revenue: vec![
            (0, "EUR".to_owned(), 200),
            (15, "EUR".to_owned(), 200),
            (30, "EUR".to_owned(), -200),
        ],
        units: vec![
            (0, product(1), 2),
            (15, product(1), 1),
            (15, product(2), 1),
            (30, product(1), -1),
            (30, product(2), -1),
        ],
    };
    testkit::eventually("all ten records are consumed", async || {
        let positions = positions(&database).await;
        (positions == [5, 5]).then_some(())
    })
    .await;
    assert_eq!(totals(&database).await, expected);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

async fn positions(database: &testkit::Database) -> Vec<i64> {
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        next_offset: i64,
    }
    let rows: Vec<Row> = diesel::sql_query("SELECT next_offset FROM position ORDER BY partition")
        .load(&mut database.connect().await)
        .await
        .unwrap();
    rows.into_iter().map(|row| row.next_offset).collect()
}
