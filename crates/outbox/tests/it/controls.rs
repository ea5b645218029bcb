//! For each deviation from the algorithm an interleaving that it does not survive. The right steps go through the same
//! interleaving and come out clean.

use std::pin::Pin;

use diesel_async::AsyncPgConnection;
use outbox::window::{self, Cursor};
use testkit::{Verdict, Version, judge};
use uuid::Uuid;

use crate::fixture::{Fixture, execute, next_version_in_txn, number};
use crate::reader::{Reader, Writer, commit_one};
use crate::server::OwnServer;
use crate::wrong::opening;
use crate::wrong::reading::{IdAfterLast, XidThenId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    Right,
    Wrong,
}
use Steps::{Right, Wrong};

type Scenario = for<'f> fn(&'f Fixture, Steps) -> Pin<Box<dyn Future<Output = Vec<Version>> + 'f>>;

/// Makes a scenario of an async function; the list below holds functions, and a closure's future can't borrow.
macro_rules! scenario {
    ($name:ident) => {
        |fixture, steps| Box::pin($name(fixture, steps))
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deviation_from_the_algorithm_is_caught() {
    type Fault = fn(&Verdict) -> usize;
    let lost: Fault = |verdict| verdict.lost;
    let inverted: Fault = |verdict| verdict.inverted;
    let scenarios: [(&str, Scenario, Fault); 10] = [
        ("polling by id", scenario!(by_id), lost),
        ("ordering by (xid, id)", scenario!(by_xid), inverted),
        ("a sequence with CACHE 20", scenario!(cached_ids), inverted),
        ("no burnt xid", scenario!(no_burnt_xid), lost),
        ("the xid burnt before h2", scenario!(xid_before_h2), lost),
        ("h2 after S2", scenario!(h2_after_s2), lost),
        ("last carried over", scenario!(last_carried_over), lost),
        ("last_value alone", scenario!(last_value_alone), lost),
        ("an id drawn before its xid", scenario!(id_before_xid), lost),
        ("a takeover with a new S2", scenario!(takeover_with_new_s2), lost),
    ];
    // Alone on its server: a transaction of somebody else's would complete between the steps and heal some of them.
    let server = OwnServer::start().await;
    for (deviation, scenario, caught) in scenarios {
        for steps in [Right, Wrong] {
            let fixture = Fixture::on(&server).await;
            let seen = scenario(&fixture, steps).await;
            let verdict = judge(fixture.committed().await, seen);
            match steps {
                Right => assert!(
                    verdict.is_clean(),
                    "the right steps, against {deviation}: {verdict}"
                ),
                Wrong => assert!(caught(&verdict) > 0, "{deviation} was not caught: {verdict}"),
            }
        }
    }
}

fn ids<const N: usize>() -> [Uuid; N] {
    std::array::from_fn(|_| Uuid::now_v7())
}

async fn open(conn: &mut AsyncPgConnection, cursor: &mut Cursor) {
    window::open(conn, cursor).await.unwrap();
}

async fn by_id(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let (mut right, mut wrong) = (Reader::new(fixture).await, IdAfterLast::default());
    let mut early = Writer::begin(fixture).await;
    early.bump(Uuid::now_v7()).await;
    commit_one(fixture, Uuid::now_v7()).await;
    right.drain().await;
    wrong.poll(&mut right.conn).await;
    early.commit().await;
    right.drain().await;
    wrong.poll(&mut right.conn).await;
    match steps {
        Right => right.seen,
        Wrong => wrong.seen,
    }
}

async fn by_xid(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let (mut right, mut wrong) = (Reader::new(fixture).await, XidThenId::new());
    let [aggregate] = ids();
    let mut older = Writer::with_xid(fixture).await;
    commit_one(fixture, aggregate).await;
    older.bump(aggregate).await;
    older.commit().await;
    right.drain().await;
    wrong.poll(&mut right.conn).await;
    match steps {
        Right => right.seen,
        Wrong => wrong.seen,
    }
}

/// The deviation is the schema's; the reader is the same.
async fn cached_ids(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    if steps == Wrong {
        let cache = "ALTER TABLE outbox ALTER COLUMN id SET CACHE 20";
        execute(&mut fixture.owner().await, cache).await;
    }
    let [aggregate, other] = ids();
    let mut reader = Reader::new(fixture).await;
    // A session that draws an id keeps the rest of its cache for later.
    let mut session = fixture.connect().await;
    fixture.bump_in_txn(&mut session, other).await;
    commit_one(fixture, aggregate).await;
    fixture.bump_in_txn(&mut session, aggregate).await;
    reader.drain().await;
    reader.seen
}

/// `newest` has the higher xid and the lower id, and no later transaction has completed: xmax alone does not tell that
/// it is running.
async fn no_burnt_xid(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    let mut newest = Writer::begin(fixture).await;
    let mut older = Writer::with_xid(fixture).await;
    newest.bump(Uuid::now_v7()).await;
    older.bump(Uuid::now_v7()).await;
    older.commit().await;
    let drain = async |reader: &mut Reader| match steps {
        Right => reader.drain().await,
        Wrong => reader.drain_with(opening::without_a_burnt_xid).await,
    };
    drain(&mut reader).await;
    newest.commit().await;
    drain(&mut reader).await;
    reader.seen
}

/// A writer draws its id while the window is being opened.
async fn xid_before_h2(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    commit_one(fixture, Uuid::now_v7()).await;
    let mut late = Writer::begin(fixture).await;
    let draw = async || late.bump(Uuid::now_v7()).await;
    let (conn, cursor) = (&mut reader.conn, &mut reader.cursor);
    match steps {
        Right => opening::right(conn, cursor, draw, async || {}).await,
        Wrong => opening::with_the_xid_burnt_before_h2(conn, cursor, draw).await,
    }
    reader.finish_window().await;
    late.commit().await;
    reader.drain().await;
    reader.seen
}

async fn h2_after_s2(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    commit_one(fixture, Uuid::now_v7()).await;
    let mut late = Writer::begin(fixture).await;
    let draw = async || late.bump(Uuid::now_v7()).await;
    let (conn, cursor) = (&mut reader.conn, &mut reader.cursor);
    match steps {
        Right => opening::right(conn, cursor, async || {}, draw).await,
        Wrong => opening::with_h2_read_after_s2(conn, cursor, draw).await,
    }
    reader.finish_window().await;
    late.commit().await;
    reader.drain().await;
    reader.seen
}

async fn last_carried_over(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    let mut early = Writer::begin(fixture).await;
    early.bump(Uuid::now_v7()).await;
    commit_one(fixture, Uuid::now_v7()).await;
    let last = number(&mut reader.conn, "SELECT max(id) AS number FROM outbox").await;
    reader.drain().await;
    early.commit().await;
    match steps {
        Right => reader.drain().await,
        Wrong => {
            let carry_over = async |conn: &mut AsyncPgConnection, cursor: &mut Cursor| {
                open(conn, cursor).await;
                cursor.last = last;
            };
            reader.drain_with(carry_over).await;
        }
    }
    reader.seen
}

/// The first window is opened before the sequence was ever used.
async fn last_value_alone(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    match steps {
        Right => open(&mut reader.conn, &mut reader.cursor).await,
        Wrong => opening::with_last_value_alone(&mut reader.conn, &mut reader.cursor).await,
    }
    reader.finish_window().await;
    commit_one(fixture, Uuid::now_v7()).await;
    reader.drain().await;
    reader.seen
}

/// The deviation is the writer's: its id is drawn in a statement that needs no xid.
async fn id_before_xid(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    // Every 32nd value of a sequence is logged, for which PostgreSQL takes an xid by itself: the next one is not.
    commit_one(fixture, Uuid::now_v7()).await;
    let mut writer = fixture.owner().await;
    execute(&mut writer, "BEGIN").await;
    let take_xid = "SELECT 1::bigint AS number FROM pg_current_xact_id()";
    if steps == Right {
        number(&mut writer, take_xid).await;
    }
    let id = number(&mut writer, "SELECT nextval('outbox_id_seq') AS number").await;
    commit_one(fixture, Uuid::now_v7()).await;
    reader.drain().await;
    let aggregate = Uuid::now_v7();
    next_version_in_txn(&mut writer, aggregate).await;
    let insert = format!(
        "INSERT INTO outbox (id, event_id, topic, key, type, schema_version, aggregate_type, aggregate_id,
                             aggregate_version, actor, payload)
         OVERRIDING SYSTEM VALUE
         VALUES ({id}, gen_random_uuid(), 'nowhere', 'key', 'type', 1, 'test', '{aggregate}', 1, 'system:test', '')"
    );
    execute(&mut writer, &insert).await;
    execute(&mut writer, "COMMIT").await;
    reader.drain().await;
    reader.seen
}

async fn takeover_with_new_s2(fixture: &Fixture, steps: Steps) -> Vec<Version> {
    let mut reader = Reader::new(fixture).await;
    let mut early = Writer::begin(fixture).await;
    early.bump(Uuid::now_v7()).await;
    for _ in 0..4 {
        commit_one(fixture, Uuid::now_v7()).await;
    }
    open(&mut reader.conn, &mut reader.cursor).await;
    assert!(!reader.page(2).await, "the window goes on");
    early.commit().await;
    // The next owner finds what was saved.
    let saved = reader.cursor.clone();
    reader.conn = fixture.connect().await;
    if steps == Wrong {
        open(&mut reader.conn, &mut reader.cursor).await;
        reader.cursor.last = saved.last;
    }
    reader.finish_window().await;
    reader.drain().await;
    reader.seen
}
