//! What a shop's database holds, as its superuser sees it.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use uuid::Uuid;

use super::Shop;

impl Shop {
    pub(crate) async fn quantity(&self, product: &str) -> i64 {
        let id: Uuid = product.parse().unwrap();
        let mut conn = self.superuser().await;
        diesel::sql_query("SELECT quantity AS value FROM stock WHERE product_id = $1")
            .bind::<SqlUuid, _>(id)
            .get_result::<Number>(&mut conn)
            .await
            .unwrap()
            .value
    }

    /// Until the cache's tail has delivered all that is committed, after which no listing is renewed again.
    pub(crate) async fn until_invalidated(&self) {
        let mut conn = self.superuser().await;
        let mut left = async || {
            diesel::sql_query(
                "SELECT count(*) AS value FROM outbox, outbox_cursor
                 WHERE sink = 'cache' AND NOT pg_visible_in_snapshot(xid, s1)",
            )
            .get_result::<Number>(&mut conn)
            .await
            .unwrap()
            .value
        };
        testkit::eventually("the tail has caught up", async || {
            (left().await == 0).then_some(())
        })
        .await;
    }

    pub(crate) async fn superuser(&self) -> AsyncPgConnection {
        database::dedicated(&self.database.superuser_url(), "test")
            .await
            .unwrap()
    }

    /// Everything that was stated, in the order in which it was.
    pub(crate) async fn facts(&self) -> Vec<Fact> {
        let mut conn = self.superuser().await;
        diesel::sql_query(
            "SELECT type AS kind, aggregate_id, aggregate_version, actor, traceparent, payload FROM outbox ORDER BY id",
        )
        .load(&mut conn)
        .await
        .unwrap()
    }

    /// What was stated of one aggregate, as `kind@version`.
    pub(crate) async fn history(&self, id: &str) -> Vec<String> {
        let id: Uuid = id.parse().unwrap();
        let facts = self.facts().await;
        let of_it = facts.iter().filter(|fact| fact.aggregate_id == id);
        of_it
            .map(|fact| {
                format!(
                    "{}@{}",
                    fact.kind.trim_start_matches("plumbline."),
                    fact.aggregate_version
                )
            })
            .collect()
    }

    /// Panics unless each aggregate has one fact for each of its versions, in their order, and there are no others.
    pub(crate) async fn check_facts(&self) {
        let mut conn = self.superuser().await;
        let wrong: Vec<Wrong> = diesel::sql_query(
            "WITH row AS (
                 SELECT 'product' AS kind, id, version FROM product
                 UNION ALL SELECT 'stock', product_id, version FROM stock
                 UNION ALL SELECT 'customer', id, version FROM customer
                 UNION ALL SELECT 'order', id, version FROM orders
             ), fact AS (
                 SELECT aggregate_type AS kind, aggregate_id AS id,
                        array_agg(aggregate_version ORDER BY id) AS versions
                 FROM outbox GROUP BY 1, 2
             )
             SELECT concat_ws(' ', kind, id, version, versions::text) AS what
             FROM row FULL JOIN fact USING (kind, id)
             WHERE versions IS DISTINCT FROM ARRAY(SELECT generate_series(1, version))",
        )
        .load(&mut conn)
        .await
        .unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Returns once a statement of the process waits for a lock.
    pub(crate) async fn wait_for_a_blocked_statement(&self) {
        self.wait_for_blocked_statements(1).await;
    }

    /// Returns once so many statements of the process wait for locks.
    pub(crate) async fn wait_for_blocked_statements(&self, count: i64) {
        testkit::eventually("statements wait for locks", async || {
            (self.blocked_statements().await >= count).then_some(())
        })
        .await;
    }

    /// How many statements of processes wait for locks.
    pub(crate) async fn blocked_statements(&self) -> i64 {
        let mut conn = self.superuser().await;
        number(
            &mut conn,
            "SELECT count(*) AS value FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await
    }
}

#[derive(Debug, QueryableByName)]
pub(crate) struct Fact {
    #[diesel(sql_type = Text)]
    pub(crate) kind: String,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) aggregate_id: Uuid,
    #[diesel(sql_type = BigInt)]
    pub(crate) aggregate_version: i64,
    #[diesel(sql_type = Text)]
    pub(crate) actor: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) traceparent: Option<String>,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

impl Fact {
    pub(crate) fn payload(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

#[derive(Debug, QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// The one `value` that `query` finds.
pub(crate) async fn number(conn: &mut AsyncPgConnection, query: &str) -> i64 {
    let found: Number = diesel::sql_query(query).get_result(conn).await.unwrap();
    found.value
}

#[derive(Debug, QueryableByName)]
struct Wrong {
    #[diesel(sql_type = Text)]
    #[expect(dead_code, reason = "shown by Debug")]
    what: String,
}
