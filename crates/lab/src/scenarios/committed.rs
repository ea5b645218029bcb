//! The outbox's promise, checked from outside: what was committed is in the log, in order, and nothing else is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use diesel::deserialize::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl as _;
use serde::Serialize;
use uuid::Uuid;

use crate::ledger::read::ROW_VERSIONS;
use crate::ledger::sources::Sources;
use crate::log_watch::{LogWatch, Order};

/// What the database committed against what the log holds. Every version of an aggregate is committed together with a fact that
/// states it, so the rows tell which facts there must be: 1 to the row's version of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Versions of all aggregates.
    pub committed: i64,
    /// Versions without a row in the outbox.
    pub unstated: i64,
    /// Versions at the end of an aggregate's history that the log does not hold. One that is missing within is out of order.
    pub lost: i64,
    /// Versions in the log that were never committed.
    pub ghosts: i64,
    pub log: Order,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    version: i64,
    /// Versions of it in the outbox.
    #[diesel(sql_type = BigInt)]
    stated: i64,
}

/// Compares now: what is being written or published meanwhile counts as lost.
pub async fn check(sources: &Sources, watch: &LogWatch) -> anyhow::Result<Checked> {
    let mut conn = sources.connect("app").await?;
    let sql = format!(
        "SELECT kind, id, version, coalesce(stated, 0) AS stated
         FROM ({ROW_VERSIONS}) AS aggregate
         LEFT JOIN (SELECT aggregate_type, aggregate_id, count(DISTINCT aggregate_version) AS stated
                    FROM outbox GROUP BY 1, 2) AS fact
              ON aggregate_type = kind AND aggregate_id = id"
    );
    let rows: Vec<Row> = sql_query(sql).load(&mut conn).await?;
    Ok(compare(&rows, watch.versions(), watch.order()))
}

/// Waits until everything that is committed is in the log and nothing else is, or `patience` is over; what is missing then is lost, and
/// what is too much was never committed. (Orders expire by themselves: a version that is committed between the look at the database
/// and the one at the log is too much for a moment.)
pub async fn settle(sources: &Sources, watch: &LogWatch, patience: Duration) -> anyhow::Result<Checked> {
    let deadline = Instant::now() + patience;
    loop {
        let checked = check(sources, watch).await?;
        if (checked.lost == 0 && checked.ghosts == 0) || Instant::now() > deadline {
            return Ok(checked);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn compare(rows: &[Row], mut published: BTreeMap<(String, Uuid), i64>, log: Order) -> Checked {
    let mut checked = Checked {
        log,
        ..Checked::default()
    };
    for row in rows {
        let last = published.remove(&(row.kind.clone(), row.id)).unwrap_or(0);
        checked.committed += row.version;
        checked.unstated += (row.version - row.stated).max(0);
        checked.lost += (row.version - last).max(0);
        checked.ghosts += (last - row.version).max(0);
    }
    checked.ghosts += published.values().sum::<i64>();
    checked
}

impl Checked {
    /// What does not hold, in words.
    pub fn failures(&self) -> Vec<String> {
        let wrong = [
            (self.unstated, "versions have no row in the outbox"),
            (self.lost, "versions are lost"),
            (self.ghosts, "versions in the log were never committed"),
            (signed(self.log.out_of_order), "records are out of order"),
            (signed(self.log.undecodable), "records are no envelopes"),
        ];
        let found = wrong.into_iter().filter(|(count, _)| *count > 0);
        found.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked {
            committed,
            unstated,
            lost,
            ghosts,
            log,
        } = self;
        writeln!(
            f,
            "{committed} versions committed ({unstated} without an outbox row), {lost} lost, {ghosts} ghosts, {} out of order, {} duplicates",
            log.out_of_order, log.duplicates
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_invented_or_unstated_is_counted() {
        let id = Uuid::from_u128;
        let row = |number, version, stated| Row {
            kind: "order".to_owned(),
            id: id(number),
            version,
            stated,
        };
        let rows = [row(1, 3, 3), row(2, 2, 1), row(3, 1, 1)];
        let log = |versions: &[(u128, i64)]| -> BTreeMap<_, _> {
            let keyed = versions
                .iter()
                .map(|(number, last)| (("order".to_owned(), id(*number)), *last));
            keyed.collect()
        };
        let checked = compare(&rows, log(&[(1, 3), (2, 2), (3, 1)]), Order::default());
        assert_eq!(checked.failures(), ["1 versions have no row in the outbox"]);
        let checked = compare(&rows[..1], log(&[(1, 1)]), Order::default());
        assert_eq!(checked.failures(), ["2 versions are lost"]);
        let checked = compare(&rows[..1], log(&[(1, 4), (9, 2)]), Order::default());
        assert_eq!(checked.failures(), ["3 versions in the log were never committed"]);
    }
}
