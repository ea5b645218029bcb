//! The operator's commands.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use database::CommandArgs;
use diesel_async::AsyncPgConnection;
use envelope::Fact;
use outbox::{Aggregates, Command, Table};
use testkit::judge;
use tracing_subscriber::fmt::MakeWriter;
use uuid::Uuid;

use crate::fixture::{Fixture, execute, fact, number};
use crate::reader::commit_one;
use crate::sinks::{Recorder, follow, relay, topic};

pub(crate) struct Bumped;

impl Aggregates for Bumped {
    const TABLES: &'static [Table] = &[
        Table {
            aggregate: "test",
            name: "aggregate",
            id: "id",
        },
        Table {
            aggregate: "other",
            name: "other",
            id: "id",
        },
    ];

    async fn restated_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        table: &Table,
        ids: &[Uuid],
    ) -> anyhow::Result<Vec<Fact>> {
        let mut facts = Vec::new();
        for id in ids {
            let sql = format!(
                "INSERT INTO committed SELECT id, version FROM {} WHERE id = '{id}' RETURNING version AS number",
                table.name
            );
            facts.push(Fact {
                aggregate_type: table.aggregate,
                ..fact("nowhere", *id, number(conn, &sql).await)
            });
        }
        Ok(facts)
    }
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// What a command writes, or why it fails.
pub(crate) async fn run(fixture: &Fixture, line: &str) -> Result<String, String> {
    let words = std::iter::once("outbox").chain(line.split_whitespace());
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    let database = CommandArgs {
        access: (&fixture.database.runtime_url()).into(),
        start_timeout: Duration::ZERO,
    };
    let mut out = Vec::new();
    let ran = line.command.run(&database, &Bumped, &mut out).await;
    let text = String::from_utf8(out).unwrap();
    match ran {
        Ok(()) => Ok(text),
        Err(error) => Err(format!("{text}{error:#}")),
    }
}

/// What this thread logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn keep() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        let log = self.0.lock().unwrap();
        String::from_utf8_lossy(&log).matches(what).count()
    }

    pub(crate) async fn says(&self, what: &str) {
        testkit::eventually(what, async || (self.count(what) > 0).then_some(())).await;
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Log;

    fn make_writer(&'w self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn status_tells_owner_backlog_and_window_of_each_sink() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        commit_one(&fixture, Uuid::now_v7()).await;
    }
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    sink.seen.until("all three", |seen| seen.len() == 3).await;
    let status = testkit::eventually("the position is saved", async || {
        let status = run(&fixture, "status").await.unwrap();
        status.contains("about 0").then_some(status)
    })
    .await;
    assert!(status.contains("owner    outbox-test "), "{status}");
    assert!(
        status.contains("pending  about 0, the oldest for 0.0 s"),
        "{status}"
    );
    // Whatever else runs on this server is in the snapshot too.
    let closed = format!(
        "SELECT count(*) AS number FROM outbox_cursor
         WHERE sink = 'cache' AND strpos($status${status}$status$, 'window   closed at ' || s1 || ', id 3') > 0"
    );
    assert_eq!(number(&mut fixture.connect().await, &closed).await, 1, "{status}");
    tail.stop().await;

    // The other sink has had nothing, and stops in the middle of a window.
    let mut owner = fixture.owner().await;
    execute(
        &mut owner,
        "UPDATE outbox SET occurred_at = clock_timestamp() - interval '90 s' WHERE id = 2;
         UPDATE outbox_cursor SET s2 = '1:999999999:', h2 = 3, last = 1 WHERE sink = 'kafka'",
    )
    .await;
    let status = run(&fixture, "status").await.unwrap();
    let pending = "kafka\n  owner    nobody\n  epoch    0\n  pending  about 2, the oldest for 9";
    assert!(status.contains(pending), "{status}");
    let open = "window   open, from 1:1: to 1:999999999:, delivered up to id 1";
    assert!(status.contains(open), "{status}");
}

#[tokio::test]
async fn a_replay_delivers_again_what_came_after_a_moment() {
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    let before = [Uuid::now_v7(), Uuid::now_v7()];
    commit_one(&fixture, before[0]).await;
    commit_one(&fixture, before[1]).await;
    sink.seen.until("both", |seen| seen.len() == 2).await;
    testkit::eventually("a position is kept", async || {
        let kept = "SELECT count(*) AS number FROM outbox_rewind_point";
        (number(&mut fixture.connect().await, kept).await == 1).then_some(())
    })
    .await;
    let after = Uuid::now_v7();
    commit_one(&fixture, after).await;
    sink.seen.until("all three", |seen| seen.len() == 3).await;

    let epoch = "SELECT epoch AS number FROM outbox_cursor WHERE sink = 'cache'";
    let owned = number(&mut fixture.connect().await, epoch).await;
    let dry = run(
        &fixture,
        "replay --from 2999-01-01T00:00:00Z --sink cache --dry-run",
    )
    .await
    .unwrap();
    assert!(dry.contains("the position of"), "{dry}");
    assert_eq!(number(&mut fixture.connect().await, epoch).await, owned);
    testkit::eventually("the position is saved", async || {
        let status = run(&fixture, "status").await.unwrap();
        status.contains("about 0").then_some(())
    })
    .await;
    run(&fixture, "replay --from 2999-01-01T00:00:00Z --sink cache")
        .await
        .unwrap();
    let seen = sink
        .seen
        .until("the later one again", |seen| seen.len() >= 4)
        .await;
    assert!(seen[3..].contains(&(after, 1)), "{seen:?}");
    run(&fixture, "replay --from 2000-01-01T00:00:00Z --sink cache")
        .await
        .unwrap();
    sink.seen
        .until("everything again", |seen| {
            seen.iter().filter(|(id, _)| *id == before[0]).count() == 2
        })
        .await;
    tail.stop().await;
    let refused = run(&fixture, "replay --from yesterday --sink cache")
        .await
        .unwrap_err();
    assert!(refused.contains("not a time like"), "{refused}");
}

#[tokio::test]
async fn a_restatement_gives_every_aggregate_a_next_version_with_its_fact() {
    let fixture = Fixture::new().await;
    for aggregate in std::iter::repeat_with(Uuid::now_v7).take(450) {
        commit_one(&fixture, aggregate).await;
    }
    let told = run(&fixture, "restate").await.unwrap();
    assert!(told.contains("restated 450 × test"), "{told}");
    let mut reader = crate::reader::Reader::new(&fixture).await;
    reader.drain().await;
    let committed = fixture.committed().await;
    assert_eq!(committed.len(), 900);
    let verdict = judge(committed, reader.seen);
    assert!(verdict.is_clean(), "{verdict}");
    run(&fixture, "check").await.unwrap();
    let refused = run(&fixture, "restate --aggregate nothing").await.unwrap_err();
    assert!(refused.contains("there are test, other"), "{refused}");
}

#[tokio::test]
async fn of_one_kind_of_aggregate_only_those_are_restated() {
    let fixture = Fixture::new().await;
    let [one, other] = std::array::from_fn(|_| Uuid::now_v7());
    commit_one(&fixture, one).await;
    execute(
        &mut fixture.owner().await,
        &format!("INSERT INTO other VALUES ('{other}', 1)"),
    )
    .await;
    let told = run(&fixture, "restate --aggregate other").await.unwrap();
    assert_eq!(told, "restated 1 × other\n");
    let committed = fixture.committed().await;
    assert_eq!(committed.len(), 2);
    assert!(
        committed.contains(&(one, 1)) && committed.contains(&(other, 2)),
        "{committed:?}"
    );
}

/// What a consumer that starts late, or lost something, is given.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_publishes_again_in_the_same_order() {
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let seen = follow(topic);
    let tail = fixture.tail(relay(topic));
    let aggregate = Uuid::now_v7();
    for _ in 0..3 {
        commit_one(&fixture, aggregate).await;
    }
    let once = [(aggregate, 1), (aggregate, 2), (aggregate, 3)];
    seen.until("all three", |copies| copies == once).await;
    testkit::eventually("the position is saved", async || {
        let saved = "SELECT h AS number FROM outbox_cursor WHERE sink = 'kafka' AND s2 IS NULL";
        (number(&mut fixture.connect().await, saved).await == 3).then_some(())
    })
    .await;
    let told = run(&fixture, "replay --from 2000-01-01T00:00:00Z --sink kafka")
        .await
        .unwrap();
    assert!(
        told.contains("the oldest row that is kept: at most 3 rows"),
        "{told}"
    );
    let copies = seen.until("all three again", |copies| copies.len() >= 6).await;
    assert_eq!(copies, [once, once].concat());
    tail.stop().await;
}

#[tokio::test]
async fn a_version_without_its_fact_is_found() {
    let fixture = Fixture::new().await;
    let [changed, silent] = std::array::from_fn(|_| Uuid::now_v7());
    for aggregate in [changed, silent, Uuid::now_v7()] {
        commit_one(&fixture, aggregate).await;
    }
    run(&fixture, "check").await.unwrap();
    let mut conn = fixture.owner().await;
    let update = format!("UPDATE aggregate SET version = 2 WHERE id = '{changed}'");
    execute(&mut conn, &update).await;
    let never = Uuid::now_v7();
    execute(&mut conn, &format!("INSERT INTO aggregate VALUES ('{never}', 1)")).await;
    let found = run(&fixture, "check").await.unwrap_err();
    assert!(
        found.contains(&format!("test {changed}: version 2, the outbox states 1")),
        "{found}"
    );
    assert!(
        found.contains(&format!("test {never}: version 1, the outbox states nothing")),
        "{found}"
    );
    assert!(found.contains("2 versions were committed"), "{found}");
}
