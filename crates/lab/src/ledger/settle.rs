//! Waiting until every committed fact has had its effects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use diesel::deserialize::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::Serialize;

use crate::ledger::sources::{CONSUMERS, Sources};

/// How long the broker may take for one answer.
const KAFKA: Duration = Duration::from_secs(5);

/// Topic and partition.
pub(crate) type Partition = (String, i32);

/// What has been committed and has not had all of its effects yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Outbox rows that the relay has not recorded as published.
    pub unpublished: i64,
    /// Records before the end of the log that are not applied, by consumer database.
    pub unread: BTreeMap<&'static str, i64>,
    /// Mails that are neither sent nor given up.
    pub mails: i64,
}

impl Behind {
    /// Whether everything has had its effects.
    pub fn is_nothing(&self) -> bool {
        self.unpublished == 0 && self.mails == 0 && self.unread.values().all(|unread| *unread == 0)
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} facts to publish", self.unpublished)?;
        for (database, unread) in &self.unread {
            write!(f, ", {unread} records for {database}")?;
        }
        write!(f, ", {} mails to send", self.mails)
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Position {
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Integer)]
    partition: i32,
    #[diesel(sql_type = BigInt)]
    next_offset: i64,
}

/// The newest outbox row: as long as it stays, nothing was committed.
pub(crate) async fn newest(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    count(conn, "SELECT coalesce(max(id), 0) AS number FROM outbox").await
}

/// Looks at every place at once.
pub(crate) async fn behind(sources: &Sources) -> anyhow::Result<Behind> {
    let mut behind = Behind::default();
    let mut app = sources.connect("app").await?;
    // The cursor's first snapshot is what the relay is done with.
    behind.unpublished = count(
        &mut app,
        "SELECT count(*) AS number FROM outbox, outbox_cursor
         WHERE sink = 'kafka' AND NOT pg_visible_in_snapshot(outbox.xid, outbox_cursor.s1)",
    )
    .await?;
    let ends = ends(sources).await?;
    for database in CONSUMERS {
        let mut conn = sources.connect(database).await?;
        let next = positions(&mut conn).await?;
        let topics = &sources.topics[database];
        let relevant = ends.iter().filter(|((topic, _), _)| topics.contains(topic));
        // The ends were read first, so a position may be beyond one.
        let unread =
            relevant.map(|(partition, end)| (end - next.get(partition).copied().unwrap_or(0)).max(0));
        behind.unread.insert(database, unread.sum());
        if database == "email" {
            behind.mails = unfinished_mails(&mut conn).await?;
        }
    }
    Ok(behind)
}

/// Mails that are neither sent nor given up.
pub(crate) async fn unfinished_mails(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    let unfinished = "SELECT count(*) AS number FROM email_delivery WHERE finished_at IS NULL";
    count(conn, unfinished).await
}

/// The delivery rows in a state.
pub(crate) async fn mails_in_state(conn: &mut AsyncPgConnection, state: &str) -> QueryResult<BTreeSet<i64>> {
    let rows = sql_query("SELECT id AS number FROM email_delivery WHERE state = $1").bind::<Text, _>(state);
    let rows: Vec<Number> = rows.load(conn).await?;
    Ok(rows.into_iter().map(|row| row.number).collect())
}

/// The first offset of each partition that a consumer database has not applied.
pub(crate) async fn positions(conn: &mut AsyncPgConnection) -> QueryResult<BTreeMap<Partition, i64>> {
    let rows: Vec<Position> = sql_query("SELECT topic, partition, next_offset FROM position")
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.topic, row.partition), row.next_offset))
        .collect())
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> QueryResult<i64> {
    sql_query(sql)
        .get_result::<Number>(conn)
        .await
        .map(|row| row.number)
}

/// The end of every partition that somebody consumes.
async fn ends(sources: &Sources) -> anyhow::Result<BTreeMap<Partition, i64>> {
    let config = sources.kafka.client("lab")?;
    let mut topics: Vec<String> = sources.topics.values().flatten().cloned().collect();
    topics.sort();
    topics.dedup();
    // librdkafka's calls block, and so can dropping its client.
    let asking = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create().context("cannot make a Kafka client")?;
        let mut ends = BTreeMap::new();
        for topic in topics {
            let metadata = client
                .fetch_metadata(Some(&topic), KAFKA)
                .context("cannot read the topics from Kafka")?;
            for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                let (_, end) = client
                    .fetch_watermarks(&topic, partition.id(), KAFKA)
                    .with_context(|| format!("cannot read the end of {topic}-{}", partition.id()))?;
                ends.insert((topic.clone(), partition.id()), end);
            }
        }
        Ok(ends)
    });
    asking.await.context("asking Kafka panicked")?
}
