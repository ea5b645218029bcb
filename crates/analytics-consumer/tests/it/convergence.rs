//! The totals depend on the latest state of each order and on nothing else.

use std::collections::BTreeMap;

use analytics_consumer::Sales;
use analytics_consumer::fold::{Cell, Contribution};
use consumer::{Handler as _, Record};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager as _};
use events::Order;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use crate::orders::{at, cancelled, database, execute, expired, paid, placed, record, shipped, totals};

#[derive(Clone, Copy, Debug)]
enum End {
    Placed,
    Expired,
    Paid,
    Shipped,
    Cancelled,
}

/// An order's states, from its placement to some end. Times fall on both sides of bucket bounds.
fn history(id: u128) -> impl Strategy<Value = Vec<Order>> {
    let lines = prop::collection::vec((0..3u128, 1..5i64), 1..4);
    (
        prop::sample::select(vec!["EUR", "JPY"]),
        lines,
        prop::sample::select(vec![
            End::Placed,
            End::Expired,
            End::Paid,
            End::Shipped,
            End::Cancelled,
        ]),
        0..45i64,
        0..45i64,
    )
        .prop_map(move |(currency, lines, end, pay_at, end_after)| {
            let placed = placed(id, currency, &lines);
            let paid = paid(&placed, pay_at);
            let end_at = pay_at + end_after;
            match end {
                End::Placed => vec![placed],
                End::Expired => vec![placed.clone(), expired(&placed, end_at)],
                End::Paid => vec![placed, paid],
                End::Shipped => vec![placed, paid.clone(), shipped(&paid, end_at)],
                End::Cancelled => vec![placed, paid.clone(), cancelled(&paid, end_at)],
            }
        })
}

/// Some orders, and an arrival: every order's last state at least once, the others any number of times, in any order.
fn arrival() -> impl Strategy<Value = (Vec<Vec<Order>>, Vec<Order>)> {
    prop::collection::vec(any::<bool>(), 1..5)
        .prop_flat_map(|orders| (1..).zip(orders).map(|(id, _)| history(id)).collect::<Vec<_>>())
        .prop_flat_map(|histories| {
            let every: Vec<Order> = histories.iter().flatten().cloned().collect();
            let last = histories.iter().map(|states| states[states.len() - 1].clone());
            let last: Vec<Order> = last.collect();
            let more = prop::collection::vec(prop::sample::select(every), 0..12);
            let arrived = more.prop_flat_map(move |more| Just([last.clone(), more].concat()).prop_shuffle());
            (Just(histories), arrived)
        })
}

fn expected(histories: &[Vec<Order>]) -> Contribution {
    histories.iter().fold(Contribution::default(), |sum, states| {
        let last = Contribution::of(&states[states.len() - 1]).unwrap();
        sum.plus(&last).unwrap()
    })
}

proptest! {
    #[test]
    fn any_arrival_of_states_sums_to_the_latest_ones((histories, arrived) in arrival()) {
        let mut stored: BTreeMap<Uuid, (i64, Contribution)> = BTreeMap::new();
        let mut sum = Contribution::default();
        for order in arrived {
            let (version, before) = stored.remove(&order.id).unwrap_or_default();
            let (version, after) = if version < order.version {
                (order.version, Contribution::of(&order).unwrap())
            } else {
                (version, before.clone())
            };
            sum = sum.plus(&after.clone().minus(&before).unwrap()).unwrap();
            stored.insert(order.id, (version, after));
        }
        prop_assert_eq!(sum, expected(&histories));
    }

    #[test]
    fn a_contribution_is_read_back_as_it_was_stored(states in history(1)) {
        for order in states {
            let contribution = Contribution::of(&order).unwrap();
            let stored = serde_json::to_value(&contribution).unwrap();
            prop_assert_eq!(serde_json::from_value::<Contribution>(stored).unwrap(), contribution);
        }
    }
}

#[test]
fn a_paid_order_counts_when_it_was_paid_and_is_reversed_when_it_was_cancelled() {
    let order = placed(1, "EUR", &[(1, 2), (1, 3)]);
    assert_eq!(Contribution::of(&order).unwrap(), Contribution::default());
    for never_paid in [cancelled(&order, 5), expired(&order, 5)] {
        assert_eq!(Contribution::of(&never_paid).unwrap(), Contribution::default());
    }

    let paid = paid(&order, 14);
    let cells = |order: &Order| -> Vec<(Cell, i64)> {
        let contribution = Contribution::of(order).unwrap();
        contribution
            .cells()
            .map(|(cell, amount)| (cell.clone(), amount))
            .collect()
    };
    let revenue = |minutes| Cell::Revenue {
        bucket_start: at(minutes),
        currency: "EUR".to_owned(),
    };
    let units = |minutes| Cell::Units {
        bucket_start: at(minutes),
        product_id: crate::orders::product(1),
    };
    assert_eq!(cells(&paid), [(revenue(0), 500), (units(0), 5)]);
    assert_eq!(cells(&shipped(&paid, 20)), cells(&paid));
    assert_eq!(
        cells(&cancelled(&paid, 15)),
        [
            (revenue(0), 500),
            (revenue(15), -500),
            (units(0), 5),
            (units(15), -5)
        ]
    );
    // In one bucket they cancel out.
    assert_eq!(cells(&cancelled(&paid, 14)), []);
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_and_no_wrong_number() {
    let mut order = paid(&placed(1, "EUR", &[(1, 1), (1, 1)]), 0);
    order.lines[0].quantity = i64::MAX;
    assert!(Contribution::of(&order).is_err());
}

/// The same on the tables, with batches cut at random and each order on its own partition.
#[test]
fn the_tables_converge_whatever_the_arrival_and_the_batches() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let database = runtime.block_on(database());
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let cuts = prop::collection::vec(1..5usize, 1..6);
    let outcome = runner.run(&(arrival(), cuts), |((histories, arrived), cuts)| {
        runtime.block_on(async {
            execute(
                &database,
                "TRUNCATE order_seen, entity_version, revenue_bucket, units_bucket",
            )
            .await;
            let mut conn = database.connect().await;
            for batch in batches(&arrived, &cuts) {
                apply(&mut conn, &batch).await;
            }
            let found = totals(&database).await;
            let expected = expected(&histories);
            let (mut revenue, mut units) = (Vec::new(), Vec::new());
            for (cell, amount) in expected.cells() {
                match cell {
                    Cell::Revenue {
                        bucket_start,
                        currency,
                    } => {
                        revenue.push(((*bucket_start - at(0)).whole_minutes(), currency.clone(), amount));
                    }
                    Cell::Units {
                        bucket_start,
                        product_id,
                    } => {
                        units.push(((*bucket_start - at(0)).whole_minutes(), *product_id, amount));
                    }
                }
            }
            assert_eq!((found.revenue, found.units), (revenue, units));
            assert_eq!(versions(&mut conn).await, last_versions(&histories));
        });
        Ok(())
    });
    outcome.unwrap();
}

/// Cuts the arrival into batches; a batch is of one partition, as the runtime gives it.
fn batches(arrived: &[Order], cuts: &[usize]) -> Vec<Vec<Record<analytics_consumer::Fact>>> {
    let partition = |order: &Order| (order.id.as_u128() % 3) as i32;
    let mut batches: Vec<Vec<Record<analytics_consumer::Fact>>> = Vec::new();
    let mut cuts = cuts.iter().cycle();
    let mut room = 0;
    for order in arrived {
        let same = batches
            .last()
            .and_then(|batch| batch.first())
            .map(|first| first.raw.partition)
            == Some(partition(order));
        match batches.last_mut().filter(|_| same && room > 0) {
            Some(batch) => batch.push(record(order, partition(order))),
            None => {
                batches.push(vec![record(order, partition(order))]);
                room = *cuts.next().unwrap();
            }
        }
        room = room.saturating_sub(1);
    }
    batches
}

async fn apply(conn: &mut AsyncPgConnection, batch: &[Record<analytics_consumer::Fact>]) {
    AnsiTransactionManager::begin_transaction(conn).await.unwrap();
    Sales.apply_in_txn(conn, batch).await.unwrap();
    AnsiTransactionManager::commit_transaction(conn).await.unwrap();
}

async fn versions(conn: &mut AsyncPgConnection) -> BTreeMap<Uuid, i64> {
    use diesel::sql_types::{BigInt, Uuid as SqlUuid};
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        aggregate_id: Uuid,
        #[diesel(sql_type = BigInt)]
        version: i64,
    }
    let rows: Vec<Row> =
        diesel::sql_query("SELECT aggregate_id, version FROM entity_version WHERE aggregate_type = 'order'")
            .load(conn)
            .await
            .unwrap();
    rows.into_iter()
        .map(|row| (row.aggregate_id, row.version))
        .collect()
}

fn last_versions(histories: &[Vec<Order>]) -> BTreeMap<Uuid, i64> {
    histories
        .iter()
        .map(|states| (states[0].id, states.len() as i64))
        .collect()
}
