//! The operator's commands, and a database that was restored.

use std::collections::BTreeMap;
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
use crate::server::OwnServer;
use crate::sinks::{Recorder, Relay};

struct Bumped;

impl Aggregates for Bumped {
    const TABLES: &'static [Table] = &[Table {
        aggregate: "test",
        name: "aggregate",
        id: "id",
    }];

    async fn restated_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        _: &Table,
        ids: &[Uuid],
    ) -> anyhow::Result<Vec<Fact>> {
        let mut facts = Vec::new();
        for id in ids {
            let sql = format!(
                "INSERT INTO committed SELECT id, version FROM aggregate WHERE id = '{id}'
                 RETURNING version AS number"
            );
            facts.push(fact("nowhere", *id, number(conn, &sql).await));
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
async fn run(fixture: &Fixture, line: &str) -> Result<String, String> {
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

    fn count(&self, what: &str) -> usize {
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
        status.contains("kafka\n  owner    nobody\n  epoch    0\n  pending  about 3"),
        "{status}"
    );
    tail.stop().await;
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
    assert!(refused.contains("there are test"), "{refused}");
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

#[tokio::test]
async fn after_a_restore_the_tails_stop_until_everything_is_restated() {
    let (log, _guard) = Log::keep();
    let mut server = OwnServer::start().await;
    let fixture = Fixture::on(&server).await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    let aggregates: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    let change = async || {
        for aggregate in aggregates {
            commit_one(&fixture, aggregate).await;
        }
    };
    change().await;
    sink.seen.until_all(&fixture.committed().await).await;
    server.crash();
    server.back_up();
    server.start_again().await;
    for _ in 0..3 {
        change().await;
        sink.seen.until_all(&fixture.committed().await).await;
        // Each save counts.
        let saves = "SELECT saves AS number FROM outbox_cursor WHERE sink = 'cache'";
        let saved = number(&mut fixture.connect().await, saves).await;
        change().await;
        testkit::eventually("a save", async || {
            (number(&mut fixture.connect().await, saves).await > saved).then_some(())
        })
        .await;
    }
    server.crash();
    server.restore();
    server.start_again().await;
    // Versions are used for the second time now.
    change().await;
    log.says("run `outbox restate --after-restore`").await;

    let told = run(&fixture, "restate --after-restore").await.unwrap();
    assert!(told.contains("generation 1 is open"), "{told}");
    let committed = fixture.committed().await;
    let seen = sink.seen.until_all(&committed).await;
    let mut newest: BTreeMap<Uuid, i64> = BTreeMap::new();
    for (aggregate, version) in seen {
        let newest = newest.entry(aggregate).or_default();
        *newest = version.max(*newest);
    }
    for aggregate in aggregates {
        assert_eq!(
            newest[&aggregate],
            (1 << 40) + 1,
            "nothing of the lost future is newer"
        );
    }
    change().await;
    let committed = fixture.committed().await;
    assert!(committed.contains(&(aggregates[0], (1 << 40) + 2)));
    sink.seen.until_all(&committed).await;
    run(&fixture, "check").await.unwrap();
    tail.stop().await;
}

#[tokio::test]
async fn a_store_that_remembers_more_saves_than_the_database_stops_the_tail() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    sink.identity.lock().unwrap().saves = Some(500);
    commit_one(&fixture, Uuid::now_v7()).await;
    let relayed = Recorder::default();
    let relay = fixture.tail(Relay(relayed.clone()));
    relayed
        .seen
        .until("the relay works", |seen| seen.len() == 1)
        .await;
    let tail = fixture.tail(sink.clone());
    log.says("the sink's store was told of 500").await;
    assert!(sink.seen.all().is_empty());
    // The relay has no store that could tell it, and stops as well; so does one that is started after that.
    log.says("or another tail found that the database went back in time")
        .await;
    relay.crash().await;
    let halts = log.count("or another tail found");
    let relay = fixture.tail(Relay(relayed.clone()));
    commit_one(&fixture, Uuid::now_v7()).await;
    testkit::eventually("the new one stops too", async || {
        (log.count("or another tail found") > halts).then_some(())
    })
    .await;
    assert_eq!(relayed.seen.all().len(), 1);
    let refused = run(&fixture, "resume").await.unwrap_err();
    assert!(refused.contains("--nothing-lost"), "{refused}");
    run(&fixture, "resume --nothing-lost").await.unwrap();
    sink.seen.until("it goes on", |seen| seen.len() == 2).await;
    relayed
        .seen
        .until("so does the relay", |seen| seen.len() >= 2)
        .await;
    tail.stop().await;
    relay.stop().await;
}

/// A suspended owner that wakes up finds numbers of its successor's, which are no sign of a lost database.
#[tokio::test]
async fn an_owner_that_was_replaced_without_knowing_does_not_stop_the_tails() {
    let (log, _guard) = Log::keep();
    let fixture = Fixture::new().await;
    let sink = Recorder::default();
    let tail = fixture.tail(sink.clone());
    commit_one(&fixture, Uuid::now_v7()).await;
    sink.seen.until("the first", |seen| seen.len() == 1).await;
    let replace = "UPDATE outbox_cursor SET epoch = epoch + 1, saves = saves + 500, owner = 'another',
                   lease_until = clock_timestamp() + interval '1 s' WHERE sink = 'cache'";
    execute(&mut fixture.owner().await, replace).await;
    sink.identity.lock().unwrap().saves = Some(500);
    log.says("the tail is no longer this replica's").await;
    // The other one's lease ends, and it owns the tail again.
    let second = Uuid::now_v7();
    commit_one(&fixture, second).await;
    sink.seen
        .until("the second", |seen| seen.contains(&(second, 1)))
        .await;
    assert_eq!(log.count("the tail has stopped"), 0);
    let halted = "SELECT count(*) AS number FROM outbox_generation WHERE timeline < 0";
    assert_eq!(number(&mut fixture.connect().await, halted).await, 0);
    tail.stop().await;
}
